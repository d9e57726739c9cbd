"""Models that load when they are asked for and leave when they are idle, with a real llama.cpp."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from arwctl import tiny_model
from tests.fakes.world import World, new_world

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
SENTENCE = "Hello from the tiny test model, which always says this."
RUNTIME = """
[[runtimes]]
id = "{name}"
adapter = "llama.cpp"
model = "tiny-chat"
on_demand = true
idle_unload = "{idle}"
accelerator = "cpu"
[runtimes.settings]
context_length = 512
slots = 1
"""
MODEL = 'version = 1\n[[models]]\nid = "tiny-chat"\npath = "tiny-chat.gguf"\n'


@pytest.fixture
def world() -> Iterator[World]:
    """A machine whose owner lets one runtime run at a time."""
    with new_world() as made:
        tiny_model.write(made.folder / "tiny-chat.gguf")
        made.state.mkdir(mode=0o700)
        limits = made.state / "node_agent.toml"
        limits.write_text("max_runtimes = 1\n")
        limits.chmod(0o600)
        made.up()
        yield made


def states(world: World) -> dict[str, str]:
    found = json.loads(world.done("runtime", "list", "-o", "json"))
    return {each["id"]: each["instance"]["state_slug"] for each in found}


def of_openai(world: World) -> openai.OpenAI:
    """With a project's key."""
    world.done("project", "create", "lab")
    key = json.loads(world.done("project", "key", "create", "lab", "-o", "json"))["secret_text"]
    address = json.loads((world.state / "context.json").read_text())["http_url"]
    return openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0, timeout=90)


def said(client: openai.OpenAI, model: str, *, stream: bool = False) -> str:
    hello: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
    if not stream:
        return client.chat.completions.create(model=model, messages=hello).choices[0].message.content or ""
    pieces = client.chat.completions.create(model=model, messages=hello, stream=True)
    return "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)


def test_models_that_do_not_fit_together_take_turns_and_leave_when_nobody_asks(world: World) -> None:
    file = world.folder / "two.toml"
    file.write_text(MODEL + RUNTIME.format(name="one", idle="1s") + RUNTIME.format(name="two", idle="1s"))
    world.done("runtime", "apply", "-f", file)
    world.until(lambda: states(world) == {"one": "hibernated", "two": "hibernated"}, "both known to their node")
    with of_openai(world) as client, ThreadPoolExecutor() as pool:
        assert [model.id for model in client.models.list()] == ["one", "two"]
        assert said(client, "one") == SENTENCE
        asked = [
            pool.submit(said, client, name, stream=stream)
            for name in ("one", "two", "one", "two")
            for stream in (False, True)
        ]
        assert {each.result() for each in asked} == {SENTENCE}
        world.until(lambda: set(states(world).values()) == {"hibernated"}, "idle ones to leave")
        assert said(client, "two", stream=True) == SENTENCE
    world.done("runtime", "wake", "one", "--wait")
    world.done("runtime", "hibernate", "one")
    world.until(lambda: states(world)["one"] == "hibernated", "a person's order")
