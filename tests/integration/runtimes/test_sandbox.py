"""What an engine cannot do: a real program under the real shim tries, and tells."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from node_agent.domain.inventory import Engine
from node_agent.domain.limits import Limits
from node_agent.domain.sandbox import Sandbox, SandboxLayer
from node_agent.domain.spec import ModelFile
from node_agent.runtimes import verdict
from node_agent.runtimes.directory import InstanceDirectory
from node_agent.runtimes.kinds.adapter import Endpoint, Traits
from node_agent.runtimes.kinds.asking import environment
from node_agent.runtimes.launcher import SHIM
from node_agent.runtimes.records import ExitNote, LaunchRecord, SandboxRecord
from node_agent.runtimes.sandbox import cgroup, landlock, paths
from node_agent.runtimes.sandbox.layers import OFF
from node_agent.runtimes.sandbox.plan import Start, sandbox_of
from tests.fakes import prying_program
from tests.fakes.instance_specs import spec
from tests.fakes.patience import SLACK

HERE = "127.0.0.1"
known = landlock.version()[0]
needs_files = pytest.mark.skipif(known < landlock.SINCE[landlock.FILES], reason="this kernel has no Landlock")
needs_network = pytest.mark.skipif(known < landlock.SINCE[landlock.NETWORK], reason="Landlock knows no ports here")
needs_scope = pytest.mark.skipif(known < landlock.SINCE[landlock.SCOPE], reason="Landlock knows no signals here")
needs_memory = pytest.mark.skipif(not cgroup.offered(cgroup.MEMORY), reason="no memory limits here")
needs_pids = pytest.mark.skipif(not cgroup.offered(cgroup.PIDS), reason="no process limits here")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start engines as another user")


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind((HERE, 0))
        return int(probe.getsockname()[1])


def within(memory_bytes: int | None = None, **wanted: Any) -> Limits:
    """What an owner says of the sandbox, and of each engine's memory."""
    return Limits(memory_per_runtime_bytes=memory_bytes, sandbox=Sandbox(**wanted))


class Bench:
    """A state directory with secrets, a model, and one instance to launch."""

    def __init__(self, folder: Path, program: Path) -> None:
        self.folder, self.program = folder, program
        self.state = folder / "state"
        (self.state / "instances").mkdir(parents=True, mode=0o700)
        self.state.chmod(0o700)
        self.secret = self.state / "node.key"
        self.secret.write_text("secret")
        self.secret.chmod(0o600)
        self.model = folder / "models" / "tiny.gguf"
        self.model.parent.mkdir()
        self.model.write_text("weights")
        (self.model.parent / "other.gguf").write_text("not its model")
        self.home = InstanceDirectory(self.state / "instances" / "one")
        self.home.prepare()
        self.home.new_key()
        self.port = free_port()

    def sandbox(self, limits: Limits, *, in_parts: bool = False, accelerator: str = "cpu") -> SandboxRecord:
        model = ModelFile("tiny", str(self.model), "", self.model.stat().st_size)
        engine = Engine("process", (str(self.program),), ((str(self.program), ""),))
        at = Endpoint(self.port, self.home.key_file)
        traits = Traits(frozenset(), in_parts=in_parts)
        return sandbox_of(Start(spec(model=model, accelerator=accelerator), engine, traits, at, self.home), limits)

    def launch(self, tries: list[str], sandbox: SandboxRecord) -> None:
        """Returns once it ended."""
        self.save(tries, sandbox)
        subprocess.run(self.command, check=False, timeout=60)

    def save(self, tries: list[str], sandbox: SandboxRecord) -> None:
        self.home.lend(sandbox.wanted.uid, sandbox.wanted.groups)
        record = LaunchRecord(
            incarnation=1,
            argv=(str(self.program), *tries),
            env=environment(self.home.scratch),
            cwd=str(self.home.scratch),
            cgroup=self.home.cgroup_leaf(1),
            log="engine.1.log",
            log_bytes=1 << 20,
            log_pieces=2,
            port=self.port,
            key_file=str(self.home.key_file),
            engine="",
            launch_key="",
            time=0,
            sandbox=sandbox,
        )
        self.home.save(record)

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-I", "-S", str(SHIM), str(self.home.path)]

    def tried(self, *tries: str, **wanted: Any) -> dict[str, str]:
        """How each try ended."""
        self.launch(list(tries), self.sandbox(within(**wanted)))
        told: dict[str, str] = json.loads(self.log)
        return told

    @property
    def log(self) -> str:
        return (self.home.path / "engine.1.log").read_text()

    @property
    def layers(self) -> dict[str, SandboxLayer]:
        run = self.home.run()
        assert run is not None
        return {layer.name: layer for layer in run.sandbox}

    @property
    def note(self) -> ExitNote:
        note = self.home.exit()
        assert note is not None
        return note


def script(path: Path, interpreter: str = sys.executable) -> Path:
    path.write_text(f"#!{interpreter}\n" + Path(prying_program.__file__).read_text())
    path.chmod(0o755)
    return path


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "engine").mkdir()
    return Bench(tmp_path, script(tmp_path / "engine" / "prying"))


@needs_files
def test_an_engine_reads_its_model_and_key_and_writes_in_its_own_directory_alone(bench: Bench) -> None:
    scratch, other = bench.home.scratch / "own", bench.model.parent / "other.gguf"
    told = bench.tried(
        f"read={bench.model}",
        f"read={bench.home.key_file}",
        f"write={scratch}",
        f"read={other}",
        f"write={bench.model}",
        f"write={bench.folder / 'outside'}",
        "write=/tmp/arw-left-behind",
        f"write={bench.home.path / 'run.json'}",
        f"write={bench.program}",
    )
    assert list(told.values()) == ["done"] * 3 + ["EACCES"] * 6
    assert bench.layers[landlock.FILES].in_force


@needs_files
def test_an_engine_cannot_look_into_the_agents_state_nor_into_its_memory(bench: Bench) -> None:
    told = bench.tried(
        f"list={bench.state}",
        f"list={bench.home.path}",
        f"read={bench.secret}",
        f"read=/proc/{os.getpid()}/environ",
        f"list={Path.home()}",
        "read=/etc/shadow",
    )
    assert set(told.values()) == {"EACCES"}


@needs_files
def test_what_an_engine_wrote_it_cannot_run(bench: Bench) -> None:
    shutil.copy("/bin/true", bench.home.scratch / ".copied")
    assert bench.tried(f"run={bench.home.scratch / '.copied'}", "run=/bin/true") == {
        f"run={bench.home.scratch / '.copied'}": "EACCES",
        "run=/bin/true": "done",
    }


@needs_network
def test_an_engine_listens_on_its_own_port_and_talks_to_no_other(bench: Bench) -> None:
    with closing(socket.create_server((HERE, 0))) as control_plane:
        port = control_plane.getsockname()[1]
        told = bench.tried(f"bind={bench.port}", f"bind={free_port()}", f"connect={port}")
    assert list(told.values()) == ["done", "EACCES", "EACCES"]


@needs_scope
def test_an_engine_reaches_no_process_outside_by_signal_or_abstract_socket(bench: Bench) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        name = f"arw-test-{os.getpid()}"
        listener.bind(f"\0{name}")
        listener.listen()
        told = bench.tried(f"signal={os.getpid()}", f"abstract={name}")
    assert set(told.values()) == {"EPERM"}


def test_an_engine_gets_no_environment_but_what_is_listed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARW_TOKEN", "secret")
    names = bench.tried("environment=")["environment="].split()
    assert "TMPDIR" in names
    assert not [name for name in names if name.startswith(("ARW", "HF_TOKEN", "SSH"))]


def test_what_an_engine_leaves_goes_with_it_but_for_its_caches(bench: Bench) -> None:
    scratch = bench.home.scratch
    (scratch / "deep" / "er").mkdir(parents=True)
    (scratch / "link").symlink_to(bench.model)
    (scratch / ".cache").mkdir()
    bench.tried(
        f"write={scratch / 'left'}", f"write={scratch / 'deep' / 'er' / 'left'}", f"write={scratch / '.cache' / 'x'}"
    )
    assert [path.name for path in scratch.iterdir()] == [".cache"]
    assert (scratch / ".cache" / "x").read_text() == "mine"
    assert bench.model.exists()


@needs_pids
def test_a_fork_bomb_ends_at_its_limit_and_everything_of_it_is_gone(bench: Bench) -> None:
    assert bench.tried("fork=200", process_limit=40) == {"fork=200": "EAGAIN"}
    assert bench.layers[cgroup.PIDS].in_force
    run = bench.home.run()
    assert run is not None
    assert not [path for path in run.cgroup_paths if Path(path).exists()]


@needs_memory
def test_an_engine_that_exceeds_its_memory_is_ended_and_told_so(bench: Bench) -> None:
    bench.launch(["allocate=512"], bench.sandbox(within(64 << 20)))
    assert bench.layers[cgroup.MEMORY].in_force
    assert bench.note.signal == signal.SIGKILL
    problem = verdict.ended(bench.note, was_ready=True)
    assert (problem.reason, problem.text) == (
        "MEMORY_INSUFFICIENT",
        "The engine ran out of its memory limit of 64 MiB.",
    )
    assert "memory.per_runtime" in problem.remedy


def test_what_a_runtime_may_have_by_estimate_is_what_its_engine_is_held_to(bench: Bench) -> None:
    assert bench.sandbox(within(64 << 20)).memory_bytes == 64 << 20
    assert bench.sandbox(within(64 << 20, off=(cgroup.MEMORY,))).memory_bytes == 0
    assert bench.sandbox(within()).memory_bytes == 0


def test_only_an_engine_that_may_use_an_accelerator_shares_memory_with_drivers(bench: Bench) -> None:
    shared = f"/{paths.SHARED_MEMORY[0]}"
    assert shared not in bench.sandbox(within()).wanted.rules["change"]
    rules = bench.sandbox(within(), accelerator="gpu_cuda").wanted.rules
    assert shared in rules["change"] or not Path(shared).exists()
    assert "/dev/null" in rules["device"]


def test_a_layer_that_is_off_is_told_with_its_reason(bench: Bench) -> None:
    told = bench.tried(f"read={bench.secret}", off=(landlock.FILES,))
    assert set(told.values()) == {"done"}
    assert bench.layers[landlock.FILES] == SandboxLayer(landlock.FILES, False, OFF)


def test_nothing_starts_without_a_layer_that_is_required(bench: Bench) -> None:
    bench.launch(["environment="], bench.sandbox(within(required=("own-user",))))
    assert bench.log == ""
    assert bench.note.missing_layer == "own-user"
    problem = verdict.ended(bench.note, was_ready=False)
    assert problem.reason == "LOCAL_POLICY_DENIED"
    assert "no user is set for engines" in problem.text


def test_an_engine_of_several_processes_may_use_ports_and_says_so(bench: Bench) -> None:
    port = free_port()
    bench.launch([f"bind={port}"], bench.sandbox(within(), in_parts=True))
    assert json.loads(bench.log) == {f"bind={port}": "done"}
    assert "several processes" in bench.layers[landlock.NETWORK].reason


@pytest.fixture
def open_bench() -> Iterator[Bench]:
    """Where another user can get to."""
    folder = Path(tempfile.mkdtemp(prefix="arw-sandbox-", dir="/var/tmp"))
    folder.chmod(0o755)
    (folder / "engine").mkdir(mode=0o755)
    yield Bench(folder, script(folder / "engine" / "prying", "/usr/bin/python3"))
    shutil.rmtree(folder)


def other_user() -> pwd.struct_passwd:
    return pwd.getpwnam("nobody")


@needs_root
@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="another user cannot run our own interpreter")
def test_an_engine_runs_as_the_user_that_its_owner_set(open_bench: Bench) -> None:
    user, bench = other_user(), open_bench
    scratch = bench.home.scratch
    told = bench.tried(
        "user=",
        f"read={bench.home.key_file}",
        f"write={scratch / '.own'}",
        f"read={bench.secret}",
        user=user.pw_name,
        off=tuple(landlock.SINCE),
    )
    assert list(told.values()) == [f"{user.pw_uid} {user.pw_gid}", "done", "done", "EACCES"]
    assert bench.layers["own-user"].in_force
    assert (scratch / ".own").stat().st_uid == user.pw_uid
    bench.home.check()


@needs_root
def test_a_user_that_cannot_reach_the_engine_leaves_it_with_the_agents_own(bench: Bench) -> None:
    told = bench.tried("user=", user=other_user().pw_name)
    assert told == {"user=": f"{os.getuid()} {os.getgid()}"}
    layer = bench.layers["own-user"]
    assert not layer.in_force
    assert layer.reason.startswith("nobody cannot use /")


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10 * SLACK
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def test_the_sandbox_costs_the_shim_no_memory(bench: Bench) -> None:
    bench.program.write_text("#!/bin/sh\nexec sleep 60\n")
    bench.save([], bench.sandbox(within()))
    shim = subprocess.Popen(bench.command)
    try:
        until(bench.home.run)
        rollup = Path(f"/proc/{shim.pid}/smaps_rollup").read_text()
        pss_kib = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        assert pss_kib <= 12_000
    finally:
        shim.send_signal(signal.SIGTERM)
        shim.wait(10)
