"""A control plane put back from a backup, or started with an empty database, beside an agent with a running engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from arwctl.local.leftovers import left
from control_plane.use_cases.lost_history import JUMP
from tests.fakes.drilled import AGENT, Behaviours, Drilled, Engine, drilled, manifest

pytestmark = pytest.mark.timeout(180)
CERTIFICATE_SECONDS = 30
"""The first one's: a drill sees it renewed, after two thirds. The next one lives for a day, longer than any drill."""


@pytest.fixture(scope="module")
def world() -> Iterator[Drilled]:
    with pytest.MonkeyPatch.context() as changed, drilled() as made:
        changed.setenv("ARW_NODE_CERTIFICATE_SECONDS", str(CERTIFICATE_SECONDS))
        made.begin("plain", engine=Behaviours(made.folder).binary)
        changed.delenv("ARW_NODE_CERTIFICATE_SECONDS")
        yield made
        made.done("down")
        assert left(made.state) == {}


@pytest.fixture
def engines(world: Drilled) -> Iterator[dict[str, Engine]]:
    """The same engine before and after, never restarted."""
    before = world.engines()
    assert sorted(before) == ["plain"]
    yield before
    assert world.engines() == before
    world.until(lambda: world.states() == {"plain": "ready"}, "a ready runtime")
    assert world.runtimes()["plain"]["restart_budget"]["used"] == 0
    world.no_orphans()


def renewed_for_a_day(world: Drilled) -> bool:
    (node,) = json.loads(world.done("nodes", "list", "-o", "json"))
    return datetime.fromisoformat(node["certificate_expire_time"]) - datetime.now(UTC) > timedelta(hours=1)


def restored(world: Drilled, file: Path) -> str:
    """The id of the new history, after the backup was put back and serves."""
    said = world.done("admin", "restore", file)
    world.start_control_plane()
    return said.strip().rpartition(" ")[2]


def accepted(world: Drilled, history: str) -> None:
    said = world.command(AGENT, "accept-history", history, "--state-dir", world.state)
    assert said.code == 0, said.err
    world.until_in_sync(JUMP, 30)


def test_f30_a_restored_control_plane_touches_nothing_until_the_node_agrees(
    world: Drilled, engines: dict[str, Engine]
) -> None:
    backup = world.folder / "yesterday.arw"
    world.done("admin", "backup", backup)
    assert world.declare(manifest("later", auto_start=False, model="")).code == 0
    assert world.declared().keys() == {"plain", "later"}
    world.stop_control_plane()
    world.start_control_plane()
    world.until(lambda: renewed_for_a_day(world), "a renewal that the backup knows nothing of", CERTIFICATE_SECONDS)
    world.stop_control_plane()
    history = restored(world, backup)
    world.until(lambda: "HISTORY_CHANGED" in world.node_problems(), "a node that asks", 30)
    assert world.engines() == engines
    assert world.declared().keys() == {"plain"}
    assert "accept-history" in world.arwctl("admin", "doctor").out
    accepted(world, history)
    world.until(lambda: world.node_problems() == [], "a node without problems", 30)


def test_f31_with_an_empty_database_by_mistake_the_node_is_refused_and_keeps_its_engine(
    world: Drilled, engines: dict[str, Engine]
) -> None:
    backup = world.folder / "today.arw"
    world.done("admin", "backup", backup)
    world.stop_control_plane()
    for file in world.control_plane_state.glob("arw.db*"):
        file.rename(world.folder / f"mislaid-{file.name}")
    world.start_control_plane()
    world.until(lambda: "There is no node" in json.dumps(world.agent_says()["link"]), "a refusal", 30)
    assert world.engines() == engines
    world.stop_control_plane()
    history = restored(world, backup)
    if not world.agent_pid:
        world.start_agent()
    world.until(lambda: "HISTORY_CHANGED" in world.node_problems(), "a node that asks", 60)
    accepted(world, history)
