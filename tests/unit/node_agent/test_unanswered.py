"""An engine that cannot be asked says why, and what helps against just that."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from node_agent.domain.errors import EngineNotFound
from node_agent.domain.inventory import Engine
from node_agent.runtimes.kinds.asking import ask
from node_agent.runtimes.kinds.unanswered import ended, not_started

NOWHERE = Path("/nowhere/llama-server")


def make(program: Path, script: str | bytes, mode: int) -> None:
    program.write_bytes(script if isinstance(script, bytes) else f"#!/bin/sh\n{script}\n".encode())
    program.chmod(mode)


async def refusal(program: Path, script: str | bytes, mode: int = 0o700, patience_s: float = 5) -> EngineNotFound:
    make(program, script, mode)
    engine = Engine("llama.cpp", (str(program),), ((str(program), "ab"),))
    with pytest.raises(EngineNotFound) as caught:
        await ask(engine, "--help", patience_s=patience_s)
    assert caught.value.text.startswith(f"The engine {program} does not answer --help: ")
    assert caught.value.remedy.endswith("Or trust another with `arw-node-agent trust llama.cpp PATH`.")
    return caught.value


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return tmp_path / "llama-server"


async def test_a_library_that_is_missing_is_named(program: Path) -> None:
    said = "llama-server: error while loading shared libraries: libcuda.so.1: cannot open shared object file"
    refused = await refusal(program, f"echo '{said}' >&2; exit 127")
    assert said in refused.text
    assert refused.remedy.startswith("Install the library libcuda.so.1,")


def test_libraries_that_are_too_old_are_told_from_missing_ones() -> None:
    said = "llama-server: /lib/libc.so.6: version `GLIBC_2.38' not found (required by llama-server)"
    assert "built for newer libraries" in ended(1, said).remedy


async def test_a_signal_says_what_it_mostly_means(program: Path) -> None:
    assert "instructions that this processor lacks" in (await refusal(program, "kill -ILL $$")).remedy
    killed = await refusal(program, "kill -KILL $$")
    assert "ended by SIGKILL" in killed.text
    assert "want of memory" in killed.remedy
    assert ended(-63, "").why == "it was ended by signal 63"


async def test_what_it_said_last_is_told(program: Path) -> None:
    refused = await refusal(program, "echo first; echo 'unknown option: --help'; echo; exit 2")
    assert "exit status 2: unknown option: --help." in refused.text
    assert refused.remedy.startswith("Run it by hand with the same words")
    assert (await refusal(program, "exit 3")).text.endswith("exit status 3.")


async def test_an_interpreter_that_is_not_there_is_told_from_a_file_that_is_not(program: Path) -> None:
    refused = await refusal(program, b"#!/no/such/interpreter\n")
    assert f"though {program} is there" in refused.text
    assert "its loader names is missing" in refused.remedy
    assert not_started(NOWHERE, FileNotFoundError(errno.ENOENT, "No such file")).remedy.startswith("Put the file back")


async def test_a_program_for_another_machine_or_without_leave_to_run_says_so(program: Path) -> None:
    assert "no program for this machine" in (await refusal(program, b"\x7fELF of another kind")).remedy
    assert "chmod +x" in (await refusal(program, "exit 0", mode=0o600)).remedy


async def test_one_that_never_ends_is_given_up(program: Path) -> None:
    refused = await refusal(program, "exec sleep 60", patience_s=0.2)
    assert "no answer within 0.2 s" in refused.text
    assert "waits for something" in refused.remedy


@pytest.mark.parametrize(
    ("number", "words"), [(errno.EMFILE, "short of it now"), (errno.EIO, "Run it by hand"), (errno.EPERM, "noexec")]
)
def test_every_refusal_to_start_has_a_remedy(number: int, words: str) -> None:
    assert words in not_started(NOWHERE, OSError(number, "No.")).remedy


def test_a_package_that_is_missing_is_named() -> None:
    assert ended(1, "Traceback\nModuleNotFoundError: No module named 'vllm'\n").remedy.startswith("Install vllm for")
