"""A runtime in a container, through real processes and the command line. Skipped where podman cannot run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from arwctl.tiny_model import SENTENCE
from tests.fakes.engine_image import EngineImage, engine_image
from tests.fakes.world import MANIFEST, World

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
pytest.importorskip("xllamacpp")

AGENT = Path(sys.executable).with_name("arw-node-agent")
CONTAINED = MANIFEST.replace('accelerator = "cpu"', 'accelerator = "cpu"\nmodes = ["container"]')


@pytest.fixture
def image(monkeypatch: pytest.MonkeyPatch) -> EngineImage:
    found = engine_image()
    for name in ("CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF"):
        monkeypatch.setenv(name, found.environment[name])
    return found


def test_a_runtime_answers_from_a_container_and_says_so(world: World, image: EngineImage) -> None:
    world.up()
    trusted = world.command(AGENT, "trust", "llama.cpp", "--image", image.name)
    assert trusted.out.startswith(f"Trusted for llama.cpp: {image.name} (")
    world.apply(CONTAINED)
    assert world.chat() == SENTENCE
    (runtime,) = json.loads(world.done("runtime", "list", "--output", "json"))
    assert runtime["instance"]["execution_mode"] == "container"
    assert runtime["instance"]["execution_reason"] == "its manifest allows container alone"
    assert "container (podman" in world.done("nodes", "show", runtime["node"].removeprefix("nodes/"))
    assert "mode: container (its manifest allows container alone)" in world.done("runtime", "explain", "tiny-chat")
    assert "container: podman" in world.command(AGENT, "check").out
    home = world.state / "node_agent" / "instances" / "tiny-chat"
    world.done("down")
    assert image.podman("ps", "--all", "--quiet", "--filter", f"label=arw.home={home}") == ""
