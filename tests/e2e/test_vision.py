"""Pictures on real processes: a PNG goes through the gateway to a real llama.cpp with a projector."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from arwctl import tiny_model, tiny_projector
from arwctl.local.demo_kinds import SUBJECTS, DemoKind
from arwctl.local.samples import sunset
from tests.fakes.world import World
from tests.smoke.stack import check_matrix

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
NAME = "tiny-vision"
SENTENCE = "Hello from the tiny test model, which always says this."


def test_the_demo_of_vision_restores_by_force_and_leaves_nothing(world: World) -> None:
    said = world.arwctl("demo", "vision", timeout_s=240)
    assert said.code == 0, said.out + said.err
    assert said.out.splitlines()[-1] == "demo: ok"
    assert said.out.count(SENTENCE) == 2
    assert f"{NAME}: ready again, engine pid" in said.out
    assert not world.state.exists(), "the demo has a state directory of its own"


@pytest.fixture
def picture(world: World) -> Path:
    file = world.folder / "sunset.png"
    sunset(file)
    return file


def serve(world: World) -> None:
    world.up()
    tiny_model.write(world.folder / f"{NAME}.gguf")
    tiny_projector.write(world.folder / "tiny-projector.gguf")
    manifest = world.folder / f"{NAME}.toml"
    manifest.write_text(SUBJECTS[DemoKind.VISION].manifest)
    world.done("runtime", "apply", "-f", manifest, "--wait")


def test_pictures_are_answered_after_a_restore_by_force_too(world: World, picture: Path) -> None:
    serve(world)
    ask = ("chat", "-m", NAME, "--image", picture)
    assert world.done(*ask, "what is this?").strip() == SENTENCE
    before = world.instance()["engine_pid"]
    world.done("runtime", "restore", NAME, "--restart", "--wait")
    assert world.instance()["engine_pid"] != before
    check_matrix(world.status())
    assert world.done(*ask, "--image", picture, "what differs?").strip() == SENTENCE
    assert described(world, picture)["text"].strip() == SENTENCE


def described(world: World, picture: Path) -> Any:
    context = json.loads((world.state / "context.json").read_text())
    image = "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
    body = json.dumps({"model": NAME, "image": image}).encode()
    headers = {"authorization": f"Bearer {context['token']}"}
    with urlopen(Request(f"{context['http_url']}/tools/vision.describe", body, headers), timeout=30) as answer:  # noqa: S310 - loopback
        return json.load(answer)


@pytest.mark.parametrize("how", ["--no-stream", "--stream"])
def test_what_cannot_be_seen_is_refused_in_the_engines_own_words(world: World, picture: Path, how: str) -> None:
    serve(world)
    torn = world.folder / "torn.png"
    torn.write_bytes(picture.read_bytes()[:60])
    refused = world.arwctl("chat", "-m", NAME, "--image", torn, how, "what is this?")
    assert (refused.code, refused.out) == (1, "")
    assert "Failed to load image" in refused.err
    world.apply()
    refused = world.arwctl("chat", "-m", "tiny-chat", "--image", picture, how, "what is this?")
    assert (refused.code, refused.out) == (1, "")
    assert "image input is not supported" in refused.err
    assert world.chat() == SENTENCE
