"""Engines that misbehave, under a whole product. One node with an engine that does as it is told."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from arwctl.local.leftovers import left
from tests.fakes.drilled import Behaviours, Drilled, drilled, freeze, gone, kill_hard, manifest
from tests.fakes.patience import SLACK

pytestmark = pytest.mark.timeout(120)
PLAIN = "plain"
STARTS = 4
GRACE_S = 1.0
"""Of the test profile, as the next two."""
DEADLINE_S = 6.0
PROBES_S = 3 * (0.5 + 1.0)
BOUND = "couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 1"


@pytest.fixture(scope="module")
def node() -> Iterator[tuple[Drilled, Behaviours]]:
    with drilled() as made:
        behaviours = Behaviours(made.folder)
        made.begin(PLAIN, engine=behaviours.binary)
        yield made, behaviours
        made.done("down")
        assert left(made.state) == {}


@pytest.fixture
def world(node: tuple[Drilled, Behaviours]) -> Iterator[Drilled]:
    """Whatever an engine does, the one beside it is not touched, and nothing is left behind."""
    beside = node[0].engines()[PLAIN]
    yield node[0]
    assert node[0].engines()[PLAIN] == beside
    assert node[0].runtimes()[PLAIN]["restart_budget"]["used"] == 0
    node[0].no_orphans()


@pytest.fixture
def behaviours(node: tuple[Drilled, Behaviours]) -> Behaviours:
    return node[1]


def start(world: Drilled, *ids: str) -> None:
    """Declare these beside the plain one."""
    said = world.declare(manifest(*ids))
    assert said.code == 0, said.err


def instance(world: Drilled, runtime: str) -> Any:
    found = json.loads(world.done("runtime", "list", "-o", "json"))
    return next(each["instance"] for each in found if each["id"] == runtime)


def until_state(world: Drilled, runtime: str, state: str, seconds: float = 20) -> dict[str, Any]:
    world.until(lambda: world.runtimes()[runtime]["state"] == state, f"{runtime} {state}", seconds)
    return world.runtimes()[runtime]


def test_f44_an_engine_that_ignores_sigterm_is_killed_after_the_grace(world: Drilled, behaviours: Behaviours) -> None:
    behaviours.of("deaf", ignore_sigterm=True)
    start(world, "deaf")
    until_state(world, "deaf", "ready")
    engine = world.engines()["deaf"]
    began = time.monotonic()
    world.done("runtime", "shutdown", "deaf")
    world.until(lambda: gone(engine.pid), "the end of a deaf engine", 10)
    assert GRACE_S <= time.monotonic() - began < GRACE_S + 3 * SLACK, "the command itself takes a part of a second"
    status = until_state(world, "deaf", "offline")
    assert status["restart_budget"]["used"] == 0
    assert len(behaviours.starts("deaf")) == 1


def test_f46_a_crash_loop_ends_after_four_starts_and_a_restore_needs_a_new_budget(
    world: Drilled, behaviours: Behaviours
) -> None:
    behaviours.of("crasher", exit_after=0.05, exit_code=7, never_ready=True, say=["the last words"])
    start(world, "crasher")
    status = until_state(world, "crasher", "error", 40)
    assert len(behaviours.starts("crasher")) == STARTS
    assert status["restart_budget"]["remaining"] == 0
    ended = instance(world, "crasher")
    assert ended["problem"]["reason"] == "restart_budget_exhausted"
    assert ended["last_exit"]["exit_code"] == 7
    assert any("the last words" in line for line in ended["last_exit"]["log_tail"])

    said = world.arwctl("runtime", "restore", "crasher")
    assert said.code == 1
    assert "has used 3 of 3 restarts" in said.err
    assert "next:" in said.err
    assert "budget reset" in said.err
    assert len(behaviours.starts("crasher")) == STARTS

    behaviours.of("crasher")
    world.done("runtime", "restore", "crasher", "--reset-budget", "--wait")
    assert until_state(world, "crasher", "ready")["restart_budget"]["used"] == 0


def test_f46_crashes_beside_it_do_not_delay_another_start(world: Drilled, behaviours: Behaviours) -> None:
    behaviours.of("noisy", exit_after=0.05, exit_code=1, never_ready=True)
    behaviours.of("quiet")
    start(world, "noisy", "quiet")
    until_state(world, "quiet", "ready", 5)


def test_f46_an_engine_that_never_gets_ready_is_stopped_at_its_deadline(world: Drilled, behaviours: Behaviours) -> None:
    behaviours.of("loader", never_ready=True)
    start(world, "loader")
    world.until(lambda: len(behaviours.starts("loader")) == 1, "its first start", 10)
    first, began = behaviours.starts("loader")[0], time.monotonic()
    world.until(lambda: gone(first), "its end", DEADLINE_S + 5)
    assert time.monotonic() - began > DEADLINE_S - 1
    world.until(lambda: len(behaviours.starts("loader")) == 2, "its second start", 10)
    assert instance(world, "loader")["restart_budget"]["used"] == 1
    assert "start_deadline_exceeded" in world.done("events", "--prefix", "runtime.", "-o", "json").lower()
    behaviours.of("loader")
    world.done("runtime", "restore", "loader", "--restart", "--wait")


def test_f46_an_engine_that_hangs_while_it_lives_is_started_again(world: Drilled, behaviours: Behaviours) -> None:
    behaviours.of("sleeper")
    start(world, "sleeper")
    until_state(world, "sleeper", "ready")
    before = world.engines()["sleeper"]
    freeze(before.pid)
    world.until(lambda: gone(before.pid), "the end of a stopped engine", PROBES_S + GRACE_S + 5)
    status = until_state(world, "sleeper", "ready")
    assert world.engines()["sleeper"].incarnation == before.incarnation + 1
    assert status["restart_budget"]["used"] == 1
    assert "runtime.state.changed" in world.done("events", "--prefix", "runtime.")


def test_a_race_for_the_port_is_answered_with_another_port_at_no_cost(world: Drilled, behaviours: Behaviours) -> None:
    behaviours.of("racer", exit_after=0.1, exit_code=1, never_ready=True, say=[BOUND])
    start(world, "racer")
    world.until(lambda: len(behaviours.starts("racer")) >= 1, "its first start", 10)
    behaviours.of("racer")
    status = until_state(world, "racer", "ready")
    assert len(behaviours.starts("racer")) <= 3
    assert status["restart_budget"]["used"] == 0


def test_f42_an_engine_whose_shim_was_killed_still_ends_with_down(behaviours: Behaviours, world: Drilled) -> None:
    behaviours.of("widow")
    start(world, "widow")
    until_state(world, "widow", "ready")
    engine = world.engines()["widow"]
    kill_hard(engine.shim)
    before = world.link()["session_epoch"]
    kill_hard(world.agent_pid)
    world.start_agent()
    world.until_in_sync(before)
    until_state(world, "widow", "ready")
    assert world.engines()["widow"].pid == engine.pid
    world.done("runtime", "shutdown", "widow")
    world.until(lambda: gone(engine.pid), "the end of the engine", 10)


def test_f43_a_tree_that_double_forks_leaves_nothing_behind(world: Drilled, behaviours: Behaviours) -> None:
    behaviours.of("forker", escape=True)
    start(world, "forker")
    until_state(world, "forker", "ready")
    escaped = int((world.folder / "forker.escaped").read_text())
    assert not gone(escaped)
    world.done("runtime", "delete", "forker")
    world.until(lambda: gone(escaped), "the end of the escaped one", 10)
    world.until(lambda: "forker" not in world.engines(), "the end of its engine", 10)
