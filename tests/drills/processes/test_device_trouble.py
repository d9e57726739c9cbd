"""A GPU that gets hot and then falls off the bus under an engine, under a whole product with a made-up driver."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arwctl.local.leftovers import left
from tests.fakes import fake_driver
from tests.fakes.drilled import Behaviours, Drilled, drilled, kill_hard, manifest
from tests.fakes.fake_driver import FakeDriver

pytestmark = pytest.mark.timeout(120)
THERMAL = 0x20


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    return fake_driver.installed(tmp_path, monkeypatch)


@pytest.fixture
def world(driver: FakeDriver) -> Iterator[tuple[Drilled, Behaviours]]:
    driver.says(gpus=1)
    with drilled() as made:
        behaviours = Behaviours(made.folder)
        for runtime in ("plain", "firm", "loose"):
            behaviours.of(runtime, devices=["CUDA0"])
        made.begin("plain", engine=behaviours.binary)
        yield made, behaviours
        made.done("down")
        assert left(made.state) == {}


def on_gpu(runtime: str, missing: str) -> str:
    text = manifest(runtime).replace('accelerator = "cpu"', 'accelerator = "gpu_cuda"')
    return text.replace("[runtimes.settings]", f'on_missing_accelerator = "{missing}"\n\n[runtimes.settings]')


def until_summary(world: Drilled, runtime: str, summary: str) -> dict[str, Any]:
    world.until(lambda: world.runtimes()[runtime]["summary"] == summary, f"{runtime}: {summary}", 30)
    return world.runtimes()[runtime]


def sight(world: Drilled) -> list[str]:
    """The devices that the node's engine sees."""
    (node,) = json.loads(world.done("nodes", "list", "-o", "json"))
    return [
        device["name"]
        for engine in node["inventory"]["engines"]
        for device in (engine.get("devices") or {}).get("devices", [])
    ]


def switches(world: Drilled) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(world.done("events", "--prefix", "runtime.accelerator", "-o", "json"))
    return [event["payload"] for event in found]


def test_heat_and_the_loss_of_a_gpu_are_said_by_its_engine_and_only_who_may_goes_to_the_cpu(
    world: tuple[Drilled, Behaviours], driver: FakeDriver
) -> None:
    made, behaviours = world
    made.until(lambda: sight(made) == ["CUDA0"], "what the engine says that it can use", 20)
    for runtime, missing in (("loose", "degrade"), ("firm", "fail")):
        said = made.declare(on_gpu(runtime, missing), "--wait")
        assert said.code == 0, said.err
    engines = made.engines()
    driver.says(gpus=1, throttle=THERMAL, pid=engines["loose"].pid)
    until_summary(made, "loose", "Degraded - thermal limit")
    driver.says(gpus=1)
    until_summary(made, "loose", "Ready")

    driver.says(gpus=1, lost=0)
    lost = until_summary(made, "loose", "Degraded - GPU lost")
    until_summary(made, "firm", "Degraded - GPU lost")
    assert lost["state"] == "degraded"
    assert "lost" in lost["detail"][0]
    (node,) = made.status()["matrix"]["items"].values()
    assert any("loose: Degraded - GPU lost (NVIDIA Fake H200: " in line for line in node["status"]["detail"])
    assert made.engines() == engines, "what runs is left to run"

    behaviours.of("loose", devices=[])
    behaviours.of("firm", devices=[])
    for runtime in ("loose", "firm"):
        kill_hard(engines[runtime].pid)
    until_summary(made, "loose", "Degraded - CPU fallback")
    made.until(lambda: made.states()["firm"] == "error", "one that waits for its GPU", 20)
    assert made.declared()["firm"]["instance"]["problem"]["reason"] == "accelerator_lost"
    (switch,) = switches(made)
    assert (switch["runtime"], switch["previous"], switch["accelerator"]) == ("loose", "gpu_cuda", "cpu")
    assert switch["reason"] == "ACCELERATOR_MISSING"
    assert switch["summary"].endswith("It runs on the CPU in place of gpu_cuda.")
    second = made.engines()["loose"]
    made.done("runtime", "restore", "loose", "--restart")
    made.until(lambda: "loose" in made.engines() and made.engines()["loose"].pid != second.pid, "another launch", 20)
    until_summary(made, "loose", "Degraded - CPU fallback")
    assert len(switches(made)) == 1

    behaviours.of("firm", devices=["CUDA0"])
    driver.says(gpus=1)
    until_summary(made, "firm", "Ready")
    assert len(switches(made)) == 1
    assert set(made.engines()) == {"plain", "loose", "firm"}
