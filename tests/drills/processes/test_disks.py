"""Disks that are full, each a small file system of its own. One node for all."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from arwctl.local.leftovers import left
from arwctl.tiny_model import SENTENCE
from tests.fakes.drilled import AGENT, Drilled, Engine, drilled, kill_hard, manifest

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]
DISK_MIB = 8
BALLASTED_MIB = 128
"""Of a disk that is large enough for the agent's ballast."""


@contextmanager
def small_disk(at: Path, mib: int = DISK_MIB) -> Iterator[None]:
    at.mkdir(mode=0o700, parents=True)
    command = ["/usr/bin/env", "mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0700", "drill", str(at)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["/usr/bin/env", "umount", "--lazy", str(at)], check=True)


@pytest.fixture(scope="module")
def running() -> Iterator[Drilled]:
    with drilled() as made, small_disk(made.agent_state), small_disk(made.control_plane_state):
        made.begin("one")
        yield made
        made.done("down")
        assert left(made.state) == {}
        made.end()


@pytest.fixture
def engine(running: Drilled) -> Iterator[Engine]:
    before = running.engines()["one"]
    yield before
    running.until(lambda: running.states()["one"] == "ready", "ready")
    assert running.ask("one", 5) == SENTENCE
    running.no_orphans()


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Not a byte is free."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            with suppress(OSError):
                while file.write(b"x" * size):
                    pass
    try:
        yield
    finally:
        ballast.unlink()


def test_f36_with_its_disk_full_an_agent_refuses_new_specs_and_keeps_its_engine(
    running: Drilled, engine: Engine
) -> None:
    node = running.agent_says()["node"]
    with filled(running.agent_state):
        assert running.declare(manifest("one", context_length=768)).code == 0
        running.until(lambda: "disk is full" in running.done("nodes", "show", node), "a refusal", 15)
        assert running.declare(manifest("late")).code == 0
        assert running.agent_says()["agent"]["running"]
        assert running.engines() == {"one": engine}
        assert running.ask("one", 5) == SENTENCE
    running.until(lambda: running.states() == {"one": "ready", "late": "ready"}, "both ready", 30)
    assert running.engines()["one"].incarnation == engine.incarnation + 1, "the change replaced it, once"
    running.done("runtime", "delete", "late")
    running.until(lambda: list(running.engines()) == ["one"], "the end of the late one", 10)


def test_f36_with_its_disk_full_an_engine_that_ends_is_started_once_there_is_room(
    running: Drilled, engine: Engine
) -> None:
    before = running.link()["session_epoch"]
    with filled(running.agent_state):
        kill_hard(engine.pid)
        running.until(lambda: running.states()["one"] in {"error", "restarting"}, "a blocked restart", 15)
        assert running.agent_pid, "the agent lives"
        said = running.arwctl("runtime", "explain", "one")
        assert "disk" in said.out, said.out
    running.until(lambda: running.states()["one"] == "ready", "ready again", 30)
    assert running.link()["session_epoch"] >= before


def test_f34_on_a_full_disk_a_node_takes_nothing_new_and_starts_again_what_ran() -> None:
    with drilled() as world, small_disk(world.agent_state, BALLASTED_MIB):
        world.begin("one")
        (engine,) = world.engines().values()
        ballast = world.agent_state / "ballast.bin"
        world.until(ballast.exists, "the ballast", 10)
        with filled(world.agent_state):
            world.until(lambda: world.node_problems() == ["DISK_PRESSURE"], "the node saying so", 10)
            assert not ballast.exists(), "its room is for the agent's records"
            assert world.declare(manifest("one", "late")).code == 0
            world.until(lambda: "nearly full" in world.arwctl("runtime", "explain", "late").out, "the reason", 10)
            kill_hard(engine.pid)
            world.until(lambda: list(world.engines()) == ["one"], "its restart", 20)
            world.until(lambda: world.states()["one"] == "ready", "ready again", 20)
            assert world.ask("one", 5) == SENTENCE
            assert "DISK_PRESSURE" in world.command(AGENT, "check", "--state-dir", world.state).out
        world.until(lambda: world.states() == {"one": "ready", "late": "ready"}, "both ready", 30)
        assert [each.incarnation for name, each in world.engines().items() if name == "one"] == [engine.incarnation + 1]
        assert world.node_problems() == []
        world.until(ballast.exists, "the ballast again", 10)
        events = json.loads(world.done("events", "--prefix", "cluster.node.changed", "-o", "json"))
        turns = [each["payload"]["cause"] for each in events if "cause" in each["payload"]]
        assert [cause for cause in turns if cause in {"closed", "open again"}] == ["closed", "open again"]
        world.done("down")


def test_f33_with_its_disk_full_a_control_plane_refuses_writes_and_serves_on(running: Drilled, engine: Engine) -> None:
    acknowledged = [name for name in names("before", 3) if running.declare(declared(name)).code == 0]
    assert len(acknowledged) == 3
    pid = running.control_plane_pid
    with filled(running.control_plane_state):
        refusal = ""
        for name in names("full", 40):
            said = running.declare(declared(name))
            if said.code:
                refusal = said.err
                break
            acknowledged.append(name)
        assert "The disk that holds the database is full." in refusal
        assert "next: Free some space on it." in " ".join(refusal.split())
        assert set(acknowledged) <= running.declared().keys()
        assert running.ask("one", 5) == SENTENCE
        assert running.states()["one"] == "ready"
        time.sleep(3)  # longer than the offline rule of the test profile: silence is not a matter of the disk
        assert "Online" in running.done("nodes", "list")
        assert running.control_plane_pid == pid
    running.until(lambda: running.declare(declared("after")).code == 0, "writes again", 15)
    kill_hard(running.control_plane_pid)
    running.start_control_plane()
    assert {*acknowledged, "after"} <= running.declared().keys()
    assert running.engines() == {"one": engine}


def names(stem: str, count: int) -> list[str]:
    return [f"{stem}-{number}" for number in range(count)]


def declared(name: str) -> str:
    return manifest(name, auto_start=False, model="")
