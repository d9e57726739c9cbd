"""The tour of the README, on real processes."""

from __future__ import annotations

import os
import signal

import pytest

from arwctl.local.leftovers import left
from arwctl.tiny_model import SENTENCE
from tests.fakes.world import World, gone, kill_hard

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]


def test_the_demo_ends_with_its_last_line_and_leaves_nothing(world: World) -> None:
    said = world.arwctl("demo", timeout_s=240)
    assert said.code == 0, said.out + said.err
    assert said.out.splitlines()[-1] == "demo: ok"
    assert said.out.count(SENTENCE) == 2
    assert "Matrix: ttl" in said.out
    assert not world.state.exists(), "the demo has a state directory of its own"


def test_from_nothing_to_a_reply_and_back_to_nothing(world: World) -> None:
    world.up()
    world.apply()
    assert world.chat() == SENTENCE
    status = world.status()
    instance = status["supervisor"]["runtimes"][0]["status"]
    assert instance["state"] == "ready"
    pids = [
        status["supervisor"]["control_plane_pid"],
        status["supervisor"]["agent_pid"],
        instance["shim_pid"],
        instance["engine_pid"],
    ]
    assert all(not gone(pid) for pid in pids)
    entry = next(iter(status["matrix"]["items"].values()))
    for name in ("label", "detail", "aria_hint", "severity_label"):
        assert entry["status"][name], name
    assert status["matrix"]["ttl_seconds"] > 0
    assert entry["runtime"]["updated"]
    world.done("down")
    assert all(gone(pid) for pid in pids)
    assert left(world.state) == {}


def test_a_second_up_starts_nothing_and_a_second_down_is_no_error(world: World) -> None:
    world.up()
    before = world.status()["supervisor"]
    world.up()
    after = world.status()["supervisor"]
    assert before["control_plane_pid"] == after["control_plane_pid"]
    assert before["agent_pid"] == after["agent_pid"]
    world.done("down")
    world.done("down")


def test_the_engine_outlives_control_plane_and_agent_and_is_restarted_itself(world: World) -> None:
    world.up()
    world.apply()
    first = world.instance()

    kill_hard(world.status()["supervisor"]["control_plane_pid"])
    world.up()
    world.until(lambda: world.instance()["state"] == "ready", "ready after the control plane was killed")
    assert world.instance()["engine_pid"] == first["engine_pid"]
    assert world.chat() == SENTENCE

    kill_hard(world.status()["supervisor"]["agent_pid"])
    world.up()
    world.until(lambda: world.instance()["state"] == "ready", "ready after the agent was killed")
    assert world.instance()["engine_pid"] == first["engine_pid"]
    assert world.instance()["shim_pid"] == first["shim_pid"]
    assert world.chat() == SENTENCE

    kill_hard(first["engine_pid"])
    assert world.chat() == SENTENCE, "a chat during the restart waits"
    back = world.instance()
    assert back["engine_pid"] not in {0, first["engine_pid"]}
    assert back["state"] == "ready"
    assert back["restart_budget"]["used"] == 1

    world.done("down")
    assert left(world.state) == {}


def test_down_stops_the_engine_even_when_control_plane_and_agent_were_killed(world: World) -> None:
    world.up()
    world.apply()
    engine = world.instance()["engine_pid"]
    supervisor = world.status()["supervisor"]
    kill_hard(supervisor["control_plane_pid"])
    kill_hard(supervisor["agent_pid"])
    assert not gone(engine)
    world.done("down")
    assert gone(engine)
    assert left(world.state) == {}


def test_shutdown_lasts_until_restore(world: World) -> None:
    world.up()
    world.apply()
    engine = world.instance()["engine_pid"]
    world.done("runtime", "shutdown", "tiny-chat")
    world.until(lambda: gone(engine), "the engine's end")
    said = world.arwctl("chat", "-m", "tiny-chat", "hello", timeout_s=60)
    assert said.code == 1
    assert "next:" in said.err
    world.done("runtime", "restore", "--runtime", "tiny-chat", "--wait")
    assert world.chat() == SENTENCE


def test_logs_events_and_explain_tell_about_a_runtime(world: World) -> None:
    world.up()
    world.apply()
    assert world.done("runtime", "logs", "tiny-chat", "--tail", "50").strip()
    assert "runtime.state.changed" in world.done("events", "--prefix", "runtime.")
    assert "chosen" in world.done("runtime", "explain", "tiny-chat")
    assert "tiny-chat" in world.done("model", "list")
    assert "tiny-chat" in world.done("runtime", "list")


def test_nothing_secret_stands_on_a_command_line(world: World) -> None:
    world.up()
    world.apply()
    token = world.done("nodes", "token", "create").strip()
    context = (world.state / "context.json").read_text()
    for pid, command in left(world.state).items():
        assert token not in command
        assert "Bearer" not in command
        words = [word for word in command.split() if len(word) > 30]
        assert not any(word in context for word in words if os.sep not in word), pid


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_an_interrupt_stops_everything(world: World, number: signal.Signals) -> None:
    with world.foreground() as process:
        world.until(lambda: world.arwctl("nodes", "list").out.count("Online") == 1, "the node online")
        process.send_signal(number)
        assert process.wait(60) == 0
    assert left(world.state) == {}
