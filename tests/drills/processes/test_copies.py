"""An agent's state directory, copied and started twice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from arwctl.local.leftovers import left
from tests.fakes.drilled import AGENT, Behaviours, Drilled, drilled, gone, kill_hard

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def world() -> Iterator[Drilled]:
    with drilled() as made:
        made.begin("plain", engine=Behaviours(made.folder).binary)
        yield made
        made.done("down")
        assert left(made.state) == {}


@pytest.fixture
def copy(world: Drilled) -> Iterator[Path]:
    """Nothing runs for the copy afterwards."""
    copied = world.folder / "copy"
    shutil.copytree(world.agent_state, copied / "node_agent", ignore=shutil.ignore_patterns("run.json.*"))
    yield copied
    stopped = world.command(AGENT, "stop", "--state-dir", copied)
    assert stopped.code == 0, stopped.err
    assert left(copied) == {}
    shutil.rmtree(copied)


def test_f53_a_copied_state_directory_is_refused_on_the_same_machine(world: Drilled, copy: Path) -> None:
    before, session = world.engines(), world.link()["session_epoch"]
    said = world.command(AGENT, "run", "--state-dir", copy)
    assert said.code == 2
    assert f"pid {world.agent_pid}, from another state directory" in said.err
    assert "join --force" in said.err
    assert left(copy) == {}, "no second engine"
    assert world.engines() == before
    assert world.link()["session_epoch"] == session
    world.no_orphans()


def test_f53_two_agents_of_one_identity_are_quarantined_and_the_engine_runs_on(world: Drilled, copy: Path) -> None:
    """The copy looks in another place for its lock, as one on another machine does."""
    engine, node = world.engines()["plain"], world.agent_says()["node"]
    elsewhere = world.folder / "elsewhere"
    elsewhere.mkdir()
    child = world.start_agent(copy, XDG_RUNTIME_DIR=str(elsewhere))
    world.until(lambda: world.link()["state"] == "quarantined", "quarantine", 30)
    problem = world.link()["problem"]
    assert problem["reason"] == "NODE_QUARANTINED"
    assert "Stop the copy" in problem["remedy"]
    told = world.done("nodes", "show", node)
    assert "quarantined" in told.lower()
    assert not gone(engine.pid)
    assert json.loads((copy / "node_agent" / "link.json").read_text())["session_epoch"] > 0
    kill_hard(child.pid)

    before = world.link()["session_epoch"]
    world.done("nodes", "approve", node)
    world.until_in_sync(before, 15)
    world.until(lambda: world.states()["plain"] == "ready", "ready after the approval", 15)
    assert world.engines()["plain"] == engine
    assert world.runtimes()["plain"]["restart_budget"]["used"] == 0
