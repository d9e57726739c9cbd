"""Agent and control plane killed, stopped and gone, while real engines serve. One node for all."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from arw_client import ArwError, Client, TimedOutError, UnreachableError, connect
from arw_client import messages as m
from arwctl.local.leftovers import left
from arwctl.tiny_model import SENTENCE
from tests.fakes.drilled import Drilled, Engine, drilled, freeze, kill_hard, manifest, refused, thaw
from tests.fakes.patience import SLACK

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]
RUNTIMES = ("one", "two", "three")
AGENT_KILLS = 20
CONTROL_PLANE_KILLS = 10
WRITERS = 4
WRITE_PAUSE_S = 0.1


@pytest.fixture(scope="module")
def running() -> Iterator[Drilled]:
    with drilled() as made:
        made.begin(*RUNTIMES)
        yield made
        made.done("down")
        assert left(made.state) == {}


@pytest.fixture
def engines(running: Drilled) -> Iterator[dict[str, Engine]]:
    """Before and after each drill the same engines serve, none was ever restarted, and nothing else runs."""
    before = running.engines()
    assert sorted(before) == sorted(RUNTIMES)
    yield before
    assert running.engines() == before
    running.until(lambda: all(running.states()[name] == "ready" for name in RUNTIMES), "all ready")
    assert [running.runtimes()[name]["restart_budget"]["used"] for name in RUNTIMES] == [0, 0, 0]
    assert [running.ask(name, 5) for name in RUNTIMES] == [SENTENCE] * 3
    running.no_orphans()


def epoch(world: Drilled) -> int:
    found: int = world.link()["session_epoch"]
    return found


def test_f1_an_agent_killed_again_and_again_adopts_every_engine(running: Drilled, engines: dict[str, Engine]) -> None:
    for _ in range(AGENT_KILLS):
        before = epoch(running)
        kill_hard(running.agent_pid)
        running.start_agent()
        running.until_in_sync(before)
        assert running.engines() == engines
    told = {name: status["engine_pid"] for name, status in running.runtimes().items()}
    assert told == {name: engine.pid for name, engine in engines.items()}


def test_f2_a_stopped_agent_goes_offline_and_comes_back_in_a_new_session(
    running: Drilled, engines: dict[str, Engine]
) -> None:
    before, agent = epoch(running), running.agent_pid
    freeze(agent)
    try:
        running.until(lambda: set(running.states().values()) == {"unknown"}, "unknown instances", 15)
        assert "Offline" in running.done("nodes", "list")
        said = refused(running, "one")
        assert said.reason == "NODE_OFFLINE"
        assert "is offline since" in said.text
        assert said.remedy
        assert running.engines() == engines
        # Pings, which know no test profile, give the path up.
        running.until(lambda: closed(running, before), "the end of the session", 25)
    finally:
        thaw(agent)
    running.until_in_sync(before)
    assert running.agent_pid == agent


def closed(world: Drilled, session: int) -> bool:
    """Whether the control plane logged the session's end."""
    lines = (world.control_plane_state / "control-plane.log").read_text().splitlines()
    ends = [json.loads(line) for line in lines if '"session_closed"' in line]
    return any(end["session_epoch"] == session for end in ends)


def test_f4_a_control_plane_killed_while_clients_write_and_chat_loses_nothing_acknowledged(
    running: Drilled, engines: dict[str, Engine]
) -> None:
    acknowledged, answered = asyncio.run(under_load(running))
    assert len(acknowledged) > CONTROL_PLANE_KILLS
    assert answered > CONTROL_PLANE_KILLS
    declared = running.declared()
    assert acknowledged <= declared.keys()
    for name in declared.keys() - set(RUNTIMES):
        assert not (running.agent_state / "instances" / name).exists(), "it was declared, not started"


async def under_load(world: Drilled) -> tuple[set[str], int]:
    """What was acknowledged and how many prompts were answered, while the control plane is killed."""
    acknowledged: set[str] = set()
    answers: list[str] = []
    remedies: set[str] = set()
    async with asyncio.TaskGroup() as group:
        load = [group.create_task(write(world, number, acknowledged)) for number in range(WRITERS)]
        load.append(group.create_task(chat(world, answers, remedies)))
        for number in range(CONTROL_PLANE_KILLS):
            seen, heard = len(acknowledged), len(answers)
            # Each life serves both before it ends somewhere in the middle.
            async with asyncio.timeout(20 * SLACK):
                while len(acknowledged) < seen + WRITERS or len(answers) == heard:  # noqa: ASYNC110 - others' progress
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.007 * number)
            await asyncio.to_thread(kill_hard, world.control_plane_pid)
            await asyncio.to_thread(world.start_control_plane)
        for task in load:
            task.cancel()
    assert set(answers) == {SENTENCE}
    assert "" not in remedies
    return acknowledged, len(answers)


async def write(world: Drilled, writer: int, acknowledged: set[str]) -> None:
    number = 0
    while True:
        try:
            async with connect(world.context, timeout_s=2) as client:
                while True:
                    number += 1
                    acknowledged.add(await applied(client, f"w{writer}-{number}"))
                    # All of them come to one node, which tells of each.
                    await asyncio.sleep(WRITE_PAUSE_S)
        except (TimedOutError, UnreachableError):
            await asyncio.sleep(0.05)


async def applied(client: Client, name: str) -> str:
    content = manifest(name, auto_start=False, model="").encode()
    await client.runtimes.apply_manifest(m.ApplyManifestRequest(content=content, format=m.ManifestFormat.TOML))
    return name


async def chat(world: Drilled, answers: list[str], remedies: set[str]) -> None:
    while True:
        try:
            answers.append(await world.reply("one", 0))
        except ArwError as error:
            remedies.add(error.remedy)
            await asyncio.sleep(0.05)


def test_f5_without_a_control_plane_engines_run_and_the_agent_says_since_when(
    running: Drilled, engines: dict[str, Engine]
) -> None:
    before, killed = epoch(running), datetime.now(UTC)
    kill_hard(running.control_plane_pid)
    running.until(lambda: running.link()["state"] == "disconnected", "a disconnected agent", 5)
    time.sleep(3)  # several attempts to come back, longer than every rule of the test profile
    said = running.agent_says()
    assert said["link"]["state"] == "disconnected"
    assert killed - timedelta(seconds=1) < datetime.fromisoformat(said["link"]["since"]) < datetime.now(UTC)
    assert said["link"]["problem"]["text"]
    assert {each["engine_pid"] for each in said["instances"]} == {engine.pid for engine in engines.values()}
    assert running.engines() == engines
    running.start_control_plane()
    running.until_in_sync(before)


def test_f13_a_stopped_control_plane_is_left_within_two_heartbeats_and_found_again(
    running: Drilled, engines: dict[str, Engine]
) -> None:
    before, control_plane = epoch(running), running.control_plane_pid
    freeze(control_plane)
    try:
        began = time.monotonic()
        running.until(lambda: running.link()["state"] == "disconnected", "a disconnected agent", 10)
        assert time.monotonic() - began < 4 * SLACK
        assert "unanswered" in running.link()["problem"]["text"]
        assert running.engines() == engines
    finally:
        thaw(control_plane)
    running.until_in_sync(before)
    assert running.control_plane_pid == control_plane


def test_f1_f4_everything_but_shims_and_engines_is_killed_and_up_again(
    running: Drilled, engines: dict[str, Engine]
) -> None:
    before = epoch(running)
    running.kill_all_but_engines()
    assert running.engines() == engines
    running.up()
    running.until_in_sync(before)
    assert running.engines() == engines
