"""An agent's state directory, copied and started twice, or put back in part."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from arwctl.local.leftovers import left
from node_agent.identity.files import IdentityFiles
from tests.fakes.drilled import AGENT, Behaviours, Drilled, drilled, gone, kill_hard, manifest
from tests.fakes.world import Said

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
    ignored = shutil.ignore_patterns("run.json.*")
    shutil.copytree(world.agent_state, copied / "node_agent", ignore=ignored, copy_function=copy_if_there)
    shutil.copy(world.state / "node_agent.toml", copied)
    yield copied
    stopped = world.command(AGENT, "stop", "--state-dir", copied)
    assert stopped.code == 0, stopped.err
    assert left(copied) == {}
    shutil.rmtree(copied, ignore_errors=True)


def copy_if_there(source: str, target: str) -> None:
    """The agent writes on meanwhile, and puts what it wrote in the place of what was there."""
    with suppress(FileNotFoundError):
        shutil.copy2(source, target)


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


def test_f53_a_copy_starts_no_second_engine_once_the_first_agent_is_dead(world: Drilled, copy: Path) -> None:
    before, session = world.engines(), world.link()["session_epoch"]
    kill_hard(world.agent_pid)
    said = world.command(AGENT, "run", "--state-dir", copy)
    assert said.code == 2
    assert f"brought here from {world.agent_state}" in said.err
    assert "arw-node-agent confirm-move" in said.err
    assert json.loads(status_of(world, copy).out)["problem"]["text"] in said.err
    unbelieved = world.command(AGENT, "confirm-move", "--state-dir", copy)
    assert unbelieved.code == 2
    assert f"{world.agent_state} still holds its identity" in unbelieved.err
    assert left(copy) == {}, "no second engine"
    world.start_agent()
    world.until_in_sync(session)
    assert world.engines() == before
    world.no_orphans()


def test_f53_a_copy_that_joins_anew_is_a_node_of_its_own_and_starts_nothing_of_the_first(
    world: Drilled, copy: Path
) -> None:
    before, session = world.engines(), world.link()["session_epoch"]
    token = world.folder / "token"
    token.write_text(world.done("nodes", "token", "create"))
    server = f"127.0.0.1:{world.ports['enrollment-port']}"
    words = ("--state-dir", copy, "--server", server, "--token-file", token, "--name", "second", "--force")
    joined = world.command(AGENT, "join", *words)
    assert joined.code == 0, joined.err
    (copy / "node_agent" / "link.json").unlink()
    child = world.start_agent(copy)
    world.until(lambda: link_of(copy)["state"] == "in_sync", "the new node in sync", 15)
    world.until(lambda: not list((copy / "node_agent" / "instances").glob("*/run.json")), "nothing of the first", 15)
    assert world.engines() == before
    assert world.link()["session_epoch"] == session
    log = (copy / "node_agent" / "node-agent.log").read_text()
    assert "refused_by_control_plane" not in log.rpartition("agent_started")[2]
    assert world.command(AGENT, "stop", "--state-dir", copy).code == 0
    assert child.poll() == 0
    assert world.engines() == before


def test_f53_a_moved_directory_serves_once_the_move_is_confirmed(world: Drilled, copy: Path) -> None:
    """On the same machine, but for another disk: only what is in the directory moved."""
    session = world.link()["session_epoch"]
    stopped = world.command(AGENT, "stop", "--state-dir", world.state)
    assert stopped.code == 0, stopped.err
    aside = world.agent_state.rename(world.folder / "aside")
    confirmed = world.command(AGENT, "confirm-move", "--state-dir", copy)
    assert confirmed.code == 0, confirmed.err
    child = world.start_agent(copy)
    world.until(lambda: link_of(copy)["session_epoch"] > session, "a session of the moved agent", 15)
    world.until(lambda: link_of(copy)["state"] == "in_sync", "the moved agent in sync", 15)
    world.until(lambda: world.states()["plain"] == "ready", "ready after the move", 15)
    assert world.command(AGENT, "stop", "--state-dir", copy).code == 0
    assert child.poll() == 0
    aside.rename(world.agent_state)
    world.start_agent()
    world.until_in_sync(link_of(copy)["session_epoch"])
    world.until(lambda: world.states()["plain"] == "ready", "ready again", 15)


def test_an_older_agent_database_stops_nothing_before_the_control_plane_has_spoken(world: Drilled) -> None:
    (world.folder / "second.json").write_text("{}")
    backup = world.folder / "backup"
    backup.mkdir()
    session = world.link()["session_epoch"]
    kill_hard(world.agent_pid)
    for file in world.agent_state.glob("agent.db*"):
        shutil.copy(file, backup)
    world.start_agent()
    world.until_in_sync(session)
    said = world.declare(manifest("second", model=""), "--wait")
    assert said.code == 0, said.err
    before, session = world.engines(), world.link()["session_epoch"]
    assert before.keys() == {"plain", "second"}

    world.kill_all_but_engines()
    for file in world.agent_state.glob("agent.db*"):
        file.unlink()
    for file in backup.iterdir():
        shutil.copy(file, world.agent_state)
    (world.agent_state / "link.json").unlink()
    world.start_agent()
    world.until(lambda: world.link()["state"] == "disconnected", "a try to connect", 15)
    assert world.engines() == before
    world.start_control_plane()
    world.until_in_sync(session)
    world.until(lambda: set(world.states().values()) == {"ready"}, "both ready", 15)
    assert world.engines() == before
    world.no_orphans()


def link_of(state: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((state / "node_agent" / "link.json").read_text())
    except FileNotFoundError:
        return {"state": "none", "session_epoch": 0}
    return found


def status_of(world: Drilled, state: Path) -> Said:
    said = world.command(AGENT, "status", "--state-dir", state, "--output", "json")
    assert said.code == 0, said.err
    return said


def test_f53_two_agents_of_one_identity_are_quarantined_and_the_engine_runs_on(world: Drilled, copy: Path) -> None:
    """The copy looks in another place for its lock, and somebody called it a move, as it may be on another machine."""
    engine, node = world.engines()["plain"], world.agent_says()["node"]
    elsewhere = world.folder / "elsewhere"
    elsewhere.mkdir()
    IdentityFiles(copy / "node_agent").settle()
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
