"""The shim by itself, run by path as the agent runs it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node_agent.domain.errors import SpawnFailed
from node_agent.domain.status import InstanceState
from node_agent.runtimes import launcher
from node_agent.runtimes.directory import InstanceDirectory
from node_agent.runtimes.launcher import SHIM
from node_agent.runtimes.process import start_ticks
from node_agent.runtimes.records import LaunchRecord, SandboxRecord, WantedRecord
from node_agent.runtimes.sandbox.cgroup import Cgroup
from node_agent.runtimes.sandbox.landlock import SINCE
from node_agent.runtimes.tree import Tree
from tests.fakes.local_node import TIMERS, LocalNode, until_ready, until_state
from tests.fakes.patience import SLACK

LAUNCH = LaunchRecord(
    incarnation=1,
    argv=("/bin/sh", "-c", "exit 0"),
    env={"GREETING": "hello"},
    cwd=".",
    cgroup="",
    log="engine.1.log",
    log_bytes=1 << 20,
    log_pieces=3,
    port=0,
    key_file="",
    engine="",
    launch_key="",
    time=0,
    sandbox=SandboxRecord(WantedRecord(without=dict.fromkeys(("own-user", *SINCE), "not what this is about"))),
)
Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def home(tmp_path: Path) -> InstanceDirectory:
    made = InstanceDirectory(tmp_path / "one")
    made.prepare()
    return made


@pytest.fixture
def run(home: InstanceDirectory) -> Iterator[Run]:
    started: list[subprocess.Popen[str]] = []

    def begin(script: str, shim: Path = SHIM, **changes: Any) -> subprocess.Popen[str]:
        values = {"argv": ("/bin/sh", "-c", script), "cgroup": home.cgroup_leaf(1), **changes}
        home.save(replace(LAUNCH, **values))
        command = [sys.executable, "-I", "-S", str(shim), str(home.path)]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield begin
    if home.run() is not None:
        Tree(home, home.run()).kill()
    for shim in started:
        shim.communicate(timeout=10)


def altered(tmp_path: Path, change: str) -> Path:
    """The shim with another figure in it."""
    script = tmp_path / "altered_shim.py"
    root = SHIM.parents[2]
    imports = "from node_agent.runtimes import shim\nfrom node_agent.runtimes.sandbox import cgroup"
    run = "sys.exit(shim.main(sys.argv[1]))"
    script.write_text(f"import sys\nsys.path.append({str(root)!r})\n{imports}\n{change}\n{run}\n")
    return script


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10 * SLACK
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def exit_note(home: InstanceDirectory) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((home.path / "exit.json").read_text())
    return content


def log(home: InstanceDirectory) -> str:
    return (home.path / "engine.1.log").read_text()


def test_an_ordinary_end_is_recorded_with_its_code(home: InstanceDirectory, run: Run) -> None:
    assert run("echo out; echo err >&2; exit 7").wait(10) == 0
    note = exit_note(home)
    assert (note["incarnation"], note["exit_code"], note["signal"], note["oom_killed"]) == (1, 7, None, False)
    assert log(home) == "out\nerr\n"


def test_a_signal_is_recorded_as_one(home: InstanceDirectory, run: Run) -> None:
    run("kill -SEGV $$").wait(10)
    assert exit_note(home)["signal"] == signal.SIGSEGV


def test_sigterm_to_the_shim_reaches_the_engine(home: InstanceDirectory, run: Run) -> None:
    shim = run("trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done")
    until(lambda: (home.path / "engine.1.log").exists() and "up" in log(home))
    shim.terminate()
    assert shim.wait(10) == 0
    assert exit_note(home)["exit_code"] == 3


def test_the_run_record_names_engine_and_shim(home: InstanceDirectory, run: Run) -> None:
    shim = run("sleep 60")
    until(home.run)
    record = home.run()
    assert record is not None
    assert record.shim_pid == shim.pid
    assert start_ticks(record.engine_pid) == record.engine_start_ticks
    until(lambda: os.getsid(record.engine_pid) == record.engine_pid)
    os.kill(record.engine_pid, signal.SIGKILL)


def test_a_second_shim_is_turned_away_while_the_engine_lives(home: InstanceDirectory, run: Run) -> None:
    run("sleep 60")
    until(home.run)
    second = run("echo second")
    assert second.wait(10) == launcher.EXIT_LOCK_HELD
    assert not (home.path / "exit.json").exists()


def test_an_engine_that_cannot_be_executed_is_said(home: InstanceDirectory, run: Run) -> None:
    shim = run("", argv=("/no/such/engine",))
    assert shim.wait(10) != 0
    assert "No such file" in exit_note(home)["not_started"]


def test_the_engine_gets_a_scrubbed_and_limited_life(home: InstanceDirectory, run: Run) -> None:
    run(
        "env; ulimit -c; grep NoNewPrivs /proc/self/status; cat /proc/self/oom_score_adj; readlink /proc/self/fd/0"
    ).wait(10)
    lines = log(home).splitlines()
    assert "GREETING=hello" in lines
    assert not [line for line in lines if line.startswith(("HOME=", "ARW", "LD_"))]
    assert lines[-4:] == ["0", "NoNewPrivs:\t1", "500", "/dev/null"]


def test_only_lock_and_standard_streams_are_inherited(home: InstanceDirectory, run: Run) -> None:
    run("ls /proc/self/fd | wc -l; ls -l /proc/self/fd").wait(10)
    targets = [line.rpartition("-> ")[2] for line in log(home).splitlines() if "->" in line]
    assert {Path(target).name for target in targets} == {"null", "engine.1.log", "lock", "fd"} | {
        Path(target).name for target in targets if target.startswith("/proc/")
    }


def test_the_log_is_rotated_while_the_engine_writes(home: InstanceDirectory, tmp_path: Path, run: Run) -> None:
    quick = altered(tmp_path, "shim.LOOK_AT_LOG_S = 0.05")
    run(
        "for i in $(seq 40); do echo line-$i-................................; sleep 0.02; done", quick, log_bytes=200
    ).wait(20)
    names = sorted(path.name for path in home.path.glob("engine.1*.log"))
    assert 2 <= len(names) <= 3
    assert "line-40-" in "".join((home.path / name).read_text() for name in names)


def test_a_shim_is_small(home: InstanceDirectory, run: Run) -> None:
    shim = run("sleep 60")
    until(home.run)
    rollup = Path(f"/proc/{shim.pid}/smaps_rollup").read_text()
    pss_kb = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    assert pss_kb <= 12_000


def test_without_cgroups_the_subreaper_still_gets_everything(home: InstanceDirectory, tmp_path: Path, run: Run) -> None:
    bare = altered(tmp_path, "cgroup.CGROUPS = '/nowhere'")
    setsid = shutil.which("setsid")
    run(f"({setsid} sleep 600 & echo $! >pids) & wait; {setsid} sleep 601 & echo $! >>pids", bare).wait(10)
    record = home.run()
    assert record is not None
    assert record.cgroup == "none"
    for pid in (home.path / "pids").read_text().split():
        assert start_ticks(int(pid)) is None


def test_the_cgroup_of_a_launch_is_removed(home: InstanceDirectory, run: Run) -> None:
    run("exit 0").wait(10)
    record = home.run()
    assert record is not None
    assert [path for path in record.cgroup_paths if Path(path).exists()] == []


@pytest.mark.parametrize(
    ("name", "content", "kills"),
    [
        ("memory.events", "low 0\noom 3\noom_kill 2\n", 2),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", 1),
        ("memory.events", "low 0\noom 0\n", 0),
    ],
)
def test_kills_for_lack_of_memory_are_counted(tmp_path: Path, name: str, content: str, kills: int) -> None:
    (tmp_path / name).write_text(content)
    cgroup = Cgroup.__new__(Cgroup)
    cgroup.paths = ["/nowhere", str(tmp_path)]
    assert cgroup.oom_kills() == kills


async def test_too_few_descriptors_fail_the_start_with_a_reason_and_nothing_half_made(home: InstanceDirectory) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(SpawnFailed, match="Too many open files"):
            await launcher.launch(home, LAUNCH, TIMERS.spawn)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not (home.path / "run.json").exists()
    running = await launcher.launch(home, replace(LAUNCH, cgroup=home.cgroup_leaf(1)), TIMERS.spawn)
    assert running.shim is not None
    assert await running.shim.wait(TIMERS.spawn)
    running.shim.reap()
    running.release()


async def test_a_file_in_the_place_of_the_directory_blocks_the_start_until_it_goes(node: LocalNode) -> None:
    await node.make_engine()
    node.home.path.parent.mkdir(mode=0o700)
    node.home.path.write_text("something is in the way")
    async with node.agent(node.spec()) as supervisor:
        status = await until_state(supervisor, InstanceState.ERROR)
        assert status.problem is not None
        assert status.problem.reason == "STORAGE_UNAVAILABLE"
        node.home.path.unlink()
        await until_ready(supervisor)
