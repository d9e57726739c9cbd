"""An engine that turns on its node: a program that its owner trusts, started as any other, tries what it may not."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node_agent.runtimes.sandbox import landlock
from tests.fakes import prying_program
from tests.fakes.drilled import AGENT, Drilled, drilled, kill_hard

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(landlock.version()[0] < landlock.SINCE[landlock.SCOPE], reason="Landlock is too old here"),
]
PROGRAM = """\
version = 1
[[runtimes]]
id = "prying"
adapter = "process"
auto_start = true
[runtimes.process]
command = {command}
health = {{ path = "/" }}
"""


@pytest.fixture(scope="module")
def world() -> Iterator[Drilled]:
    with drilled() as made:
        made.done(*made.up_words(), "--detach")
        yield made
        made.done("down")


@pytest.fixture(scope="module")
def told(world: Drilled) -> dict[str, str]:
    """How each of its tries ended, by the try."""
    program = trusted(world)
    home = world.agent_state / "instances" / "prying"
    tries = [
        f"read={world.agent_state / 'node.key'}",
        f"list={world.agent_state}",
        f"read={world.control_plane_state / 'ca.key'}",
        f"write={home / 'run.json'}",
        f"write={home / 'lock'}",
        f"write={home / 'api.key'}",
        f"write={world.folder / 'outside'}",
        f"connect={world.ports['grpc-port']}",
        f"connect={world.ports['http-port']}",
        f"signal={world.agent_pid}",
        f"read=/proc/{world.agent_pid}/environ",
        "environment=",
    ]
    manifest = world.folder / "prying.toml"
    manifest.write_text(PROGRAM.format(command=json.dumps([str(program), *tries, "serve={port}"])))
    world.done("runtime", "apply", "-f", manifest, "--wait")
    found: dict[str, str] = json.loads((home / "engine.1.log").read_text().splitlines()[0])
    return found


def trusted(world: Drilled) -> Path:
    """The program, which the node that is up by then trusts."""
    program = world.folder / "engine" / "prying"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n" + Path(prying_program.__file__).read_text())
    program.chmod(0o700)
    said = world.command(AGENT, "trust", "process", program)
    assert said.code == 0, said.err
    return program


def ends(told: dict[str, str], *actions: str) -> set[str]:
    return {end for each, end in told.items() if each.partition("=")[0] in actions}


def test_t15_what_a_manifest_makes_a_trusted_program_do_stays_in_its_own_directory(told: dict[str, str]) -> None:
    assert ends(told, "read", "list") == {"EACCES"}
    assert ends(told, "connect") == {"EACCES"}
    assert not [name for name in told["environment="].split() if name.startswith("ARW")]


def test_t31_an_engine_can_forge_no_record_of_its_own_instance(told: dict[str, str]) -> None:
    assert ends(told, "write") == {"EACCES"}


def test_t32_an_engine_can_signal_no_pid_that_is_not_its_own(told: dict[str, str]) -> None:
    assert ends(told, "signal") == {"EPERM"}


def test_t15_a_node_says_which_layers_hold_its_engines_and_why_one_does_not(
    world: Drilled, told: dict[str, str]
) -> None:
    shown = world.done("nodes", "show", node_of(world))
    assert "landlock-files" in shown
    assert "without memory-limit: no limit is set" in shown
    layers = layers_of(world)
    assert layers["landlock-network"]["in_force"]
    assert layers["own-user"]["reason"]


def layers_of(world: Drilled) -> dict[str, dict[str, Any]]:
    """What the node tells of the next engine, by layer."""
    (node,) = json.loads(world.done("nodes", "list", "--output", "json"))
    return {layer["name"]: layer for layer in node["inventory"]["sandbox"]}


def node_of(world: Drilled) -> str:
    (node,) = json.loads(world.done("nodes", "list", "--output", "json"))
    name: str = node["name"].partition("/")[2]
    return name


def test_t15_a_node_that_requires_a_layer_starts_nothing_without_it(world: Drilled, told: dict[str, str]) -> None:
    rules = world.state / "node_agent.toml"
    rules.write_text('[sandbox]\nrequired = ["own-user"]\noff = ["landlock-scope"]\n')
    rules.chmod(0o600)
    world.until(lambda: "left it out" in layers_of(world)["landlock-scope"].get("reason", ""), "the owner's word", 20)
    kill_hard(world.instance()["engine_pid"])
    world.until(lambda: world.instance()["state"] == "error", "the refusal", 20)
    (runtime,) = json.loads(world.done("runtime", "list", "--output", "json"))
    said = json.dumps(runtime)
    assert "local_policy_denied" in said
    assert "This node requires own-user of every engine's sandbox: no user is set" in said
    rules.unlink()
