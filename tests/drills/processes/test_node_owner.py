"""The owner of a node over a running one: limits that change, `check`, and a service manager's restart."""

from __future__ import annotations

import configparser
import json
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arwctl.local.leftovers import left
from arwctl.tiny_model import SENTENCE
from tests.fakes.drilled import AGENT, Drilled, drilled
from tests.fakes.world import gone, send

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def running() -> Iterator[Drilled]:
    with drilled() as made:
        made.begin("one")
        yield made
        made.done("down")
        assert left(made.state) == {}


def limit(world: Drilled, text: str) -> None:
    file = world.state / "node_agent.toml"
    file.write_text(text)
    file.chmod(0o600)


def node(world: Drilled) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(world.done("nodes", "list", "-o", "json"))[0]
    return found


def reasons(world: Drilled) -> list[str]:
    return [problem["reason"] for problem in node(world).get("problems", [])]


def unit(world: Drilled) -> configparser.SectionProxy:
    said = world.command(AGENT, "service", "print", "--user", "--manager", "systemd", "--state-dir", world.state)
    parser = configparser.RawConfigParser()
    parser.read_string(said.out)
    return parser["Service"]


def test_what_the_service_does_on_a_restart_leaves_every_engine(running: Drilled) -> None:
    service, before, epoch = unit(running), running.engines(), running.link()["session_epoch"]
    assert (service["KillMode"], service["KillSignal"]) == ("process", "SIGTERM")
    agent = running.agent_pid
    send(agent, signal.SIGTERM)
    running.until(lambda: gone(agent), "the end of the agent", 30)
    assert running.engines() == before
    assert shlex.split(service["ExecStart"]) == [str(AGENT), "run", "--state-dir", str(running.state)]
    running.start_agent()
    running.until_in_sync(epoch)
    assert running.engines() == before
    assert running.ask("one", 5) == SENTENCE


def test_check_explains_a_machine_that_can_serve_and_changes_nothing(running: Drilled) -> None:
    before = sorted(path.name for path in running.agent_state.iterdir())
    said = running.command(AGENT, "check", "--state-dir", running.state, "--output", "json")
    told = json.loads(said.out)
    assert (said.code, told["can_serve"]) == (0, True), said.out
    abouts = {finding["about"] for finding in told["findings"]}
    assert {"identity", "certificate", "agent", "control plane", "clock", "engine", "limits", "disk", "ports"} <= abouts
    plain = running.command(AGENT, "check", "--state-dir", running.state)
    assert plain.out.endswith("This machine can serve.\n")
    assert sorted(path.name for path in running.agent_state.iterdir()) == before


def test_t15_the_owner_takes_the_machine_back_and_gives_it_again(running: Drilled) -> None:
    engine = running.engines()["one"].pid
    limit(running, 'grace_seconds = 1\n\n[adapters]\ndeny = ["llama.cpp", "whisper.cpp"]\n')
    running.until(lambda: running.runtimes()["one"]["state"] == "offline", "the engine reclaimed")
    assert gone(engine)
    assert running.runtimes()["one"]["summary"] == "This node's owner does not let the adapter llama.cpp run here."
    assert running.declared()["one"]["instance"]["problem"]["reason"] == "local_policy_denied"
    assert "rule adapters.deny in " in running.done("runtime", "explain", "one")
    said = running.command(AGENT, "check", "--state-dir", running.state)
    assert said.code == 1
    assert "rule adapters.deny" in said.out
    limit(running, "# everything may run\n")
    running.until(lambda: running.states()["one"] == "ready", "the runtime ready again")
    assert running.runtimes()["one"]["restart_budget"]["used"] == 0


def test_limits_that_cannot_be_followed_stop_nothing_and_say_so(running: Drilled) -> None:
    before = running.engines()
    limit(running, "colour = 1\n")
    running.until(lambda: "local_policy_denied" in reasons(running), "the node's trouble")
    assert "line 1: colour is not known" in node(running)["problems"][0]["text"]
    assert running.engines() == before
    assert running.ask("one", 5) == SENTENCE
    Path(running.state / "node_agent.toml").unlink()
    send(running.agent_pid, signal.SIGHUP)
    running.until(lambda: not reasons(running), "the node without trouble")
    assert running.engines() == before
