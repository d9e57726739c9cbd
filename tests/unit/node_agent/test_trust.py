import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from node_agent.disk.database import Database
from node_agent.disk.digests import DiskDigests
from node_agent.domain.errors import EngineNotFound, EngineNotTrusted
from node_agent.runtimes import engines
from node_agent.runtimes.engines import FRONT, candidate, find_engines
from node_agent.runtimes.kinds.llama_cpp import LlamaCpp
from node_agent.runtimes.trust import TrustList, trust, usable_engines

SCRIPT = f"""#!{sys.executable}
import sys
print({{"--help": "-m, --model FILE   model", "--version": "version: 9 (fake)"}}.get(sys.argv[1], "Available devices:"))
"""


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    path = tmp_path / "bin" / "llama-server"
    path.parent.mkdir()
    path.write_text(SCRIPT)
    path.chmod(0o700)
    return path


def change(binary: Path) -> None:
    binary.write_text(f"{SCRIPT}# changed\n")


@pytest.fixture
def trusted(tmp_path: Path) -> Iterator[TrustList]:
    database = Database(tmp_path / "agent.db")
    yield TrustList(tmp_path / "engines.json", DiskDigests(database))
    database.close()


def test_a_binary_is_covered_with_the_libraries_beside_it(binary: Path) -> None:
    for name in ("libllama.so.0", "libggml-cpu.so", "libc.so.6", "notes.txt"):
        (binary.parent / name).write_text(name)
    found = candidate(binary)
    assert [path.name for path in found.files] == ["llama-server", "libggml-cpu.so", "libllama.so.0"]
    assert found.command == (str(binary),)


def test_llama_server_on_path_is_found_before_the_wheel(binary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(binary.parent))
    assert next(found.files[0].name for found in find_engines()) == "llama-server"


def test_the_wheel_is_found_after_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find_engines()
    assert [one.files[0] for one in found] == [FRONT]
    assert any(path.suffix == ".so" for path in found[0].files)


def test_the_wheel_is_not_imported_to_find_it() -> None:
    look = "from node_agent.runtimes import engines; engines.find_engines()"
    code = f"import sys; {look}; sys.exit('xllamacpp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_the_wheel_its_front_is_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "WHEEL", "no_such_wheel")
    with pytest.raises(EngineNotFound, match="wheel"):
        candidate(FRONT)


def test_a_path_without_an_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineNotFound):
        candidate(tmp_path / "nothing")


async def test_a_trusted_engine_is_the_one_to_use(binary: Path, trusted: TrustList) -> None:
    engine = await trust(trusted, LlamaCpp(), candidate(binary))
    assert engine.version == "9 (fake)"
    assert trusted.engine_for("llama.cpp") == engine
    trusted.verify(engine)
    assert (binary.parents[1] / "engines.json").stat().st_mode & 0o777 == 0o600


async def test_a_changed_engine_is_refused_with_the_command_that_would_trust_it(
    binary: Path, trusted: TrustList
) -> None:
    engine = await trust(trusted, LlamaCpp(), candidate(binary))
    change(binary)
    with pytest.raises(EngineNotTrusted) as caught:
        trusted.verify(engine)
    assert f"arw-node-agent trust llama.cpp {binary}" in caught.value.remedy


async def test_a_changed_library_is_noticed_too(binary: Path, trusted: TrustList) -> None:
    library = binary.parent / "libllama.so.0"
    library.write_text("one")
    engine = await trust(trusted, LlamaCpp(), candidate(binary))
    library.write_text("two")
    with pytest.raises(EngineNotTrusted, match=r"libllama\.so\.0 has changed"):
        trusted.verify(engine)


async def test_trusting_again_accepts_the_change(binary: Path, trusted: TrustList) -> None:
    await trust(trusted, LlamaCpp(), candidate(binary))
    change(binary)
    engine = await trust(trusted, LlamaCpp(), candidate(binary))
    trusted.verify(engine)
    assert len(trusted.engines()) == 1


def test_an_engine_that_was_only_found_is_refused(
    binary: Path, trusted: TrustList, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(binary.parent))
    with pytest.raises(EngineNotTrusted) as caught:
        trusted.engine_for("llama.cpp")
    assert str(binary) in caught.value.remedy


def test_another_process_may_add_to_the_list(trusted: TrustList, tmp_path: Path, binary: Path) -> None:
    assert trusted.engines() == ()
    database = Database(tmp_path / "other.db")
    TrustList(tmp_path / "engines.json", DiskDigests(database)).add(candidate(binary), "1")
    database.close()
    assert [engine.version for engine in trusted.engines()] == ["1"]


def test_a_broken_list_trusts_nothing(trusted: TrustList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "engines.json").write_text('[{"adapter": 1}]')
    assert trusted.engines() == ()


async def test_a_named_engine_that_cannot_run_is_an_error(tmp_path: Path, trusted: TrustList) -> None:
    broken = tmp_path / "llama-server"
    broken.write_text("#!/bin/false\n")
    broken.chmod(0o700)
    with pytest.raises(EngineNotFound, match="does not answer --"):
        await usable_engines(trusted, LlamaCpp(), (broken,))


async def test_a_found_engine_that_cannot_run_is_left_out(
    tmp_path: Path, trusted: TrustList, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "bin" / "llama-server"
    broken.parent.mkdir()
    broken.write_text("#!/bin/false\n")
    broken.chmod(0o700)
    monkeypatch.setenv("PATH", str(broken.parent))
    assert str(broken) not in [engine.command[0] for engine in await usable_engines(trusted, LlamaCpp())]


async def test_what_was_named_comes_first(
    binary: Path, trusted: TrustList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    found = await usable_engines(trusted, LlamaCpp(), (binary,))
    assert trusted.engines() == ()
    trusted.keep(found)
    assert next(engine.command[0] for engine in found) == str(binary)
    assert trusted.engine_for("llama.cpp").command == (str(binary),)
