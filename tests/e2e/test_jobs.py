"""Swapping the model of a runtime, with a real llama.cpp, through real processes and the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arwctl import tiny_model
from arwctl.tiny_model import Recipe
from tests.fakes.world import MANIFEST, World, kill_hard

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

OTHER = "Another model says another thing."


def recorded(world: World, name: str, text: str) -> Path:
    file = tiny_model.write(world.folder / f"{name}.gguf", Recipe(text=text))
    world.done("model", "add", file)
    return file


def jobs(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(world.done("jobs", "list", "--output", "json"))
    return found


def test_a_model_is_swapped_and_a_broken_one_is_rolled_back(world: World) -> None:
    world.up()
    world.apply(f"{MANIFEST}\n[runtimes.restart]\nmax_restarts = 1\n")
    good = recorded(world, "other", OTHER)
    world.done("runtime", "swap-model", "tiny-chat", "other", "--job", "first")
    assert world.chat() == OTHER

    broken = world.folder / "broken.gguf"
    broken.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    world.done("model", "add", broken)
    said = world.arwctl("runtime", "swap-model", "tiny-chat", "broken", "--job", "second")
    assert (said.code, "other serves again" in said.err) == (1, True), said.err
    assert world.chat() == OTHER
    first, second = jobs(world)
    assert (first["id"], first["state"]) == ("first", "succeeded")
    assert (second["state"], second["swap_model"]["rolled_back"]) == ("failed", True)
    assert world.instance()["restart_budget"]["used"] == 0

    probed = json.loads(world.done("runtime", "probe", "tiny-chat", "--output", "json"))
    found = probed["health_probe"]
    assert (found["state"], found["fresh"], "latency" in found) == ("ready", True, True)


def test_f62_a_swap_goes_on_over_the_death_of_control_plane_and_agent(world: World) -> None:
    world.up()
    world.apply()
    recorded(world, "other", OTHER)
    world.done("runtime", "swap-model", "tiny-chat", "other", "--job", "mine", "--no-wait")
    supervisor = world.status()["supervisor"]
    kill_hard(supervisor["control_plane_pid"])
    kill_hard(supervisor["agent_pid"])
    world.up()
    world.done("jobs", "watch", "mine")
    world.done("runtime", "swap-model", "tiny-chat", "other", "--job", "mine")
    assert world.chat() == OTHER
    (job,) = jobs(world)
    assert (job["id"], job["state"]) == ("mine", "succeeded")
