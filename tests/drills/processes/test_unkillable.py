"""An engine that no signal ends, under a whole product."""

from __future__ import annotations

import json
from typing import Any

import pytest

from arwctl.local.leftovers import left
from tests.fakes.drilled import Behaviours, Drilled, drilled, gone, manifest
from tests.fakes.stuck import refusal, stuck

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(bool(refusal()), reason=refusal())]


def instance(world: Drilled) -> dict[str, Any]:
    found: dict[str, Any] = world.declared()["stuck"]["instance"]
    return found


def node(world: Drilled) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(world.done("nodes", "list", "-o", "json"))[0]
    return found


def reason(of: dict[str, Any]) -> str:
    found: str = of.get("problem", {}).get("reason", "")
    return found


def reasons(of: dict[str, Any]) -> list[str]:
    return [problem["reason"] for problem in of.get("problems", [])]


def test_f45_an_engine_that_survives_sigkill_is_said_to_and_the_node_alarms_until_it_is_gone() -> None:
    with drilled() as world:
        behaviours = Behaviours(world.folder)
        world.begin("plain", engine=behaviours.binary)
        behaviours.of("stuck")
        assert world.declare(manifest("stuck"), "--wait").code == 0
        engine, beside = world.engines()["stuck"], world.engines()["plain"]
        with stuck(engine.pid):
            world.done("runtime", "shutdown", "stuck")
            world.until(lambda: reason(instance(world)) == "unkillable", "an instance that cannot be stopped", 20)
            assert instance(world)["state"] == "stopping"
            world.until(lambda: reasons(node(world)) == ["unkillable"], "the node's alarm", 20)
            assert instance(world)["severity"] == "error"
            assert "stuck" in node(world)["problems"][0]["text"]
            assert "unkillable" in world.done("events", "--prefix", "runtime.", "-o", "json").lower()
            assert "unkillable" in world.done("events", "--prefix", "cluster.node.", "-o", "json").lower()
            assert world.engines() == {"plain": beside, "stuck": engine}
        world.until(lambda: instance(world)["state"] == "offline", "the end", 20)
        world.until(lambda: reasons(node(world)) == [], "the end of the alarm", 10)
        assert world.engines() == {"plain": beside}
        world.done("down")
        assert left(world.state) == {}
        assert gone(engine.pid)
        assert gone(engine.shim)
