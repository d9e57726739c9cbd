"""The authority is rotated under load, and the control plane dies between any two steps."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from arw_client import ArwError
from arwctl.local.leftovers import left
from tests.fakes.drilled import Drilled, Engine, drilled, kill_hard

pytestmark = pytest.mark.timeout(180)
CERTIFICATE_SECONDS = 60
GAP_S = 10.0
"""The longest that a client or a node may go without."""


@pytest.fixture(scope="module")
def world() -> Iterator[Drilled]:
    with pytest.MonkeyPatch.context() as changed, drilled() as made:
        changed.setenv("ARW_NODE_CERTIFICATE_SECONDS", str(CERTIFICATE_SECONDS))
        made.begin("plain")
        yield made
        made.done("down")
        assert left(made.state) == {}


@pytest.fixture
def engines(world: Drilled) -> Iterator[dict[str, Engine]]:
    """The same engine before and after, never restarted."""
    before = world.engines()
    yield before
    assert world.engines() == before
    world.until(lambda: world.states() == {"plain": "ready"}, "a ready runtime")
    assert world.runtimes()["plain"]["restart_budget"]["used"] == 0


class Load:
    """Asks and looks at the node's session, time and again; how long each went without."""

    def __init__(self, world: Drilled) -> None:
        self._world = world
        self._stop = threading.Event()
        self._last = {"reply": time.monotonic(), "session": time.monotonic()}
        self.gaps = dict.fromkeys(self._last, 0.0)
        self.replies = 0
        self.refusals: list[ArwError] = []
        self._threads = [threading.Thread(target=each) for each in (self._ask, self._look)]

    @contextmanager
    def applied(self) -> Iterator[Load]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                self._world.ask("plain")
            except ArwError as error:
                self.refusals.append(error)
                continue
            self.replies += 1
            self._held("reply")

    def _look(self) -> None:
        while not self._stop.wait(0.02):
            if self._world.link()["state"] == "in_sync":
                self._held("session")

    def _held(self, what: str) -> None:
        now = time.monotonic()
        self.gaps[what] = max(self.gaps[what], now - self._last[what])
        self._last[what] = now


def authorities(world: Drilled) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(world.done("admin", "ca", "show", "-o", "json"))["authorities"]
    return found


def states(world: Drilled) -> list[str]:
    return [one["state_slug"] for one in authorities(world)]


def _taken(world: Drilled, step: str) -> bool:
    return bool(world.arwctl("admin", "ca", step).code == 0)


def with_context(world: Drilled, file: Path) -> Any:
    return world.arwctl("nodes", "list", "--context", file)


def test_f51_a_rotation_under_load_cuts_nobody_off_and_ends_what_the_old_authority_signed(
    world: Drilled, engines: dict[str, Engine]
) -> None:
    context = world.state / "context.json"
    before = json.loads(context.read_text())
    (first,) = authorities(world)
    with Load(world).applied() as load:
        world.done("admin", "ca", "rotate", "--within", "60s")
    assert load.replies > 0, load.refusals
    assert max(load.gaps.values()) < GAP_S, load.gaps
    active, revoked = authorities(world)
    assert (active["state_slug"], active["nodes"], active["operators"]) == ("active", 1, 1)
    assert (revoked["state_slug"], revoked["id"]) == ("revoked", first["id"])
    assert world.engines() == engines
    old = world.folder / "old.json"
    for kept in (before, {**before, "ca_pem": json.loads(context.read_text())["ca_pem"]}):
        old.write_text(json.dumps(kept))
        assert with_context(world, old).code == 3
    # The other way round too: who has been rotated takes no word of the old one.
    assert json.loads(context.read_text())["ca_pem"].count("BEGIN CERTIFICATE") == 1
    assert (world.agent_state / "ca.pem").read_text().count("BEGIN CERTIFICATE") == 1
    assert world.arwctl("admin", "doctor").code in (0, 1)


def test_f51_a_control_plane_that_is_killed_after_each_step_goes_on_with_the_next(
    world: Drilled, engines: dict[str, Engine]
) -> None:
    for step in ("prepare", "activate", "taint", "revoke"):
        world.until(partial(_taken, world, step), step, 30)
        epoch = world.link()["session_epoch"]
        kill_hard(world.control_plane_pid)
        world.start_control_plane()
        world.until_in_sync(epoch, 20)
    assert states(world) == ["active", "revoked", "revoked"]
    assert world.engines() == engines
    assert world.ask("plain", 10)
