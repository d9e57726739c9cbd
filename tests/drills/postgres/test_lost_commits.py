"""PostgreSQL comes back without its last commits, while control plane, agent and engine live on, or start again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from arwctl.local.leftovers import left
from control_plane.store.known_history import MARK
from control_plane.store.opening import NOTE
from control_plane.use_cases.lost_history import HISTORY_CHANGED, JUMP
from tests.fakes.drilled import AGENT, CONTROL_PLANE, Behaviours, Drilled, Engine, drilled, kill_hard, manifest
from tests.fakes.postgres import PostgresServer, postgres_server

pytestmark = pytest.mark.timeout(180)


@dataclass(frozen=True, slots=True)
class Site:
    world: Drilled
    server: PostgresServer
    url: str

    def is_noted(self) -> bool:
        """Whether the control plane has written down how far its history has come."""
        with psycopg.connect(self.url) as connection:
            found = connection.execute(MARK.encode()).fetchone()
        noted = self.world.control_plane_state / NOTE
        return found is not None and noted.exists() and json.loads(noted.read_text()) == list(found)

    def changes(self) -> list[Any]:
        """What the journal says of new histories."""
        said = self.world.done("events", "--prefix", HISTORY_CHANGED, "--limit", "10", "-o", "json")
        return list(json.loads(said))

    def epoch(self) -> int:
        found: int = self.world.link()["session_epoch"]
        return found


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with postgres_server() as server, drilled() as world:
        url = server.new_database()
        said = world.command(CONTROL_PLANE, "init", "--state-dir", world.state, "--database", url)
        assert said.code == 0, said.err
        world.begin("plain", engine=Behaviours(world.folder).binary)
        yield Site(world, server, url)
        world.done("down")
        assert left(world.state) == {}


@pytest.fixture
def engines(site: Site) -> Iterator[dict[str, Engine]]:
    """The same engine before and after, never restarted."""
    before = site.world.engines()
    assert sorted(before) == ["plain"]
    yield before
    assert site.world.engines() == before
    site.world.until(lambda: site.world.states()["plain"] == "ready", "a ready runtime", 20)
    assert site.world.runtimes()["plain"]["restart_budget"]["used"] == 0
    site.world.no_orphans()


def lost_and_agreed(site: Site, engines: dict[str, Engine], told: int) -> None:
    """From the moment at which the database has lost its last commits."""
    world = site.world
    epoch = JUMP * told
    world.until(lambda: "HISTORY_CHANGED" in problems(world), "a node that asks", 40)
    assert world.engines() == engines
    changes = site.changes()
    assert len(changes) == told
    history = changes[-1]["payload"]["history"]
    assert f"accept-history {history}" in changes[-1]["payload"]["remedy"]
    said = world.arwctl("admin", "doctor").out
    assert f"accept-history {history}" in said
    assert "lacks its last changes" in said
    assert world.declared().keys() == {"plain"}
    agreed = world.command(AGENT, "accept-history", history, "--state-dir", world.state)
    assert agreed.code == 0, agreed.err
    world.until_in_sync(epoch, 30)
    world.until(lambda: problems(world) == [], "a node without problems", 30)
    assert site.epoch() > epoch


def problems(world: Drilled) -> list[str]:
    """None while the database is away."""
    return world.node_problems() if world.arwctl("nodes", "list").code == 0 else []


def declare(world: Drilled, *names: str) -> None:
    for name in names:
        assert world.declare(manifest(name, auto_start=False, model="")).code == 0
    world.until(lambda: {*world.declared()} >= {*names}, "what was declared", 10)


def test_f29_a_database_that_lost_its_last_commits_stops_nothing_and_reuses_nothing(
    site: Site, engines: dict[str, Engine]
) -> None:
    world, pid = site.world, site.world.control_plane_pid
    site.server.put_aside()
    world.until(lambda: world.arwctl("nodes", "list").code == 0, "the database", 20)
    declare(world, "later")
    site.server.put_back()
    lost_and_agreed(site, engines, told=1)
    assert world.control_plane_pid == pid
    declare(world, "later")
    assert world.arwctl("runtime", "delete", "later").code == 0


def test_f29_it_is_found_out_also_when_the_control_plane_was_started_again(
    site: Site, engines: dict[str, Engine]
) -> None:
    world = site.world
    site.server.put_aside()
    world.until(lambda: world.arwctl("nodes", "list").code == 0, "the database", 20)
    declare(world, "later")
    world.until(site.is_noted, "a note of it", 10)
    kill_hard(world.control_plane_pid)
    site.server.put_back()
    world.start_control_plane()
    lost_and_agreed(site, engines, told=2)
