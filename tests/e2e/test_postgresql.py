"""A control plane whose state is in PostgreSQL, from an empty database to a reply, and killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from arwctl.local.leftovers import left
from arwctl.tiny_model import SENTENCE
from tests.fakes.drilled import CONTROL_PLANE, Drilled, drilled, kill_hard, manifest

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]


@pytest.fixture
def world() -> Iterator[Drilled]:
    with drilled() as made:
        yield made


def test_a_control_plane_on_postgresql_killed_and_started_again_loses_nothing(
    postgres_url: str, world: Drilled
) -> None:
    file = world.folder / "database"
    file.write_text(f"{postgres_url}&password=not-needed\n")
    file.chmod(0o600)
    said = world.command(CONTROL_PLANE, "init", "--state-dir", world.state, "--database-file", file)
    assert said.code == 0, said.err
    world.begin("tiny")
    assert world.ask("tiny", 5) == SENTENCE
    assert not (world.control_plane_state / "arw.db").exists()
    assert "not-needed" not in (world.control_plane_state / "settings.json").read_text()

    engines, declared, events = world.engines(), world.declared(), journal(world)
    for number in range(3):
        world.declare(manifest(f"more-{number}", auto_start=False, model=""))
        kill_hard(world.control_plane_pid)
        epoch = world.link()["session_epoch"]
        world.start_control_plane()
    # After several failures in a row the agent waits longer: up to 10 s.
    world.until_in_sync(epoch, 30)
    assert world.engines() == engines
    assert world.declared().keys() == declared.keys() | {f"more-{number}" for number in range(3)}
    assert world.ask("tiny", 5) == SENTENCE
    assert journal(world)[: len(events)] == events, "the journal goes on"
    world.done("down")
    assert left(world.state) == {}


def journal(world: Drilled) -> list[Any]:
    found: list[Any] = json.loads(world.done("events", "--limit", "1000", "-o", "json"))
    return found


def test_a_password_on_the_command_line_is_refused_with_a_way_that_is_safe(world: Drilled) -> None:
    secret = "postgresql://arw:hunter2@db.example/arw"
    said = world.command(CONTROL_PLANE, "init", "--state-dir", world.state, "--database", secret)
    assert said.code == 2
    assert "hunter2" not in said.err + said.out
    assert "PGPASSWORD" in said.err
    assert "--database-file" in said.err
    assert not (world.control_plane_state / "settings.json").exists()
