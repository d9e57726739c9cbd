"""Hours of random kills on the real timers: ARW_SOAK_MINUTES says how long (120), ARW_SOAK_SEED which ones."""

from __future__ import annotations

import os
import random
import time
from typing import Any

import pytest

from arwctl.local.leftovers import left
from arwctl.tiny_model import SENTENCE
from tests.fakes.world import World, kill_hard, new_world

MINUTES = float(os.environ.get("ARW_SOAK_MINUTES", "120"))
SEED = int(os.environ.get("ARW_SOAK_SEED", "1"))
VICTIMS = ("control_plane_pid", "agent_pid", "engine_pid")


class LongWorld(World):
    def environment(self) -> dict[str, str]:
        return {name: value for name, value in super().environment().items() if name != "ARW_TIMERS"}


@pytest.mark.timeout(0)
def test_whatever_is_killed_whenever_the_next_chat_is_answered() -> None:
    chance = random.Random(SEED)  # noqa: S311 - repeatable, not secret
    with new_world(LongWorld) as world:
        world.up()
        world.apply()
        end = time.monotonic() + MINUTES * 60
        while time.monotonic() < end:
            one_kill(world, chance)
        world.done("down")
        assert left(world.state) == {}


def one_kill(world: World, chance: random.Random) -> None:
    """Kill one of the three at a random moment; only a killed engine may change its pid."""
    before = facts(world)
    victim = chance.choice(VICTIMS)
    time.sleep(chance.uniform(0, 30))
    kill_hard(before[victim])
    world.up()
    world.done("runtime", "restore", "tiny-chat", "--reset-budget")
    assert world.chat() == SENTENCE
    world.until(lambda: facts(world)["state"] == "ready", "ready again")
    if victim != "engine_pid":
        assert facts(world)["engine_pid"] == before["engine_pid"]


def facts(world: World) -> dict[str, Any]:
    supervisor = world.status()["supervisor"]
    return {**supervisor, **supervisor["runtimes"][0]["status"]}
