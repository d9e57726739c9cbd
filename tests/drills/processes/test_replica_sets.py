"""A runtime with two replicas on two agents: what the death of one of them costs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.fakes import owner_file
from tests.fakes.drilled import AGENT, Behaviours, Drilled, drilled, kill_left

pytestmark = pytest.mark.timeout(120)
TRIES, OK = 30, 200


def joined(world: Drilled, engine: Path) -> Path:
    """A second agent on this machine, with a state directory and an engine of its own to start."""
    state = world.folder / "second"
    owner_file.write(state, folders=[engine.parent])
    token = world.folder / "token"
    token.write_text(world.done("nodes", "token", "create"))
    server = f"127.0.0.1:{world.ports['enrollment-port']}"
    for words in (
        ("join", "--server", server, "--token-file", token, "--name", "second"),
        ("trust", "llama.cpp", engine),
    ):
        said = world.command(AGENT, *words, "--state-dir", state)
        assert said.code == 0, said.err
    world.start_agent(state)
    return state


@pytest.fixture
def world() -> Iterator[Drilled]:
    with drilled() as made:
        try:
            yield made
        finally:
            kill_left(made.folder / "second")


def outcome(world: Drilled) -> int:
    """How a request for the runtime is answered."""
    host, _, port = world.context.http_url.removeprefix("http://").partition(":")
    talk = HTTPConnection(host, int(port), timeout=20)
    try:
        headers = {"authorization": f"Bearer {world.context.token}", "content-type": "application/json"}
        talk.request("POST", "/v1/chat/completions", json.dumps({"model": "chat", "messages": []}), headers)
        answer = talk.getresponse()
        answer.read()
        return answer.status
    finally:
        talk.close()


def test_the_death_of_a_node_costs_its_replica_and_no_request(world: Drilled) -> None:
    behaviours = Behaviours(world.folder)
    for name in ("chat", "chat.2"):
        behaviours.of(name, words=1)
    world.begin("chat", engine=behaviours.binary)
    second = joined(world, behaviours.binary)
    world.done("runtime", "scale", "chat", "2", "--wait")
    rows = world.declared()
    assert rows["chat"]["node"] != rows["chat.2"]["node"]
    assert rows["chat.2"]["replica_of"] == "runtimes/chat"
    assert [outcome(world) for _ in range(4)] == [OK] * 4

    kill_left(second)
    outcomes = [outcome(world) for _ in range(TRIES)]
    assert outcomes == [OK] * TRIES
    world.until(lambda: "1/2 ready" in world.done("runtime", "list"), "one of two ready", 10)

    world.start_agent(second)
    world.until(lambda: "2/2 ready" in world.done("runtime", "list"), "both again", 20)
    world.done("runtime", "scale", "chat", "1")
    assert list(world.declared()) == ["chat"]
    assert outcome(world) == OK
    assert len(behaviours.starts("chat")) == 1, "no scaling touched it"
