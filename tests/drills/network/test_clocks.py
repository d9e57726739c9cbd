"""Clocks that are set by an hour under whoever goes by them."""

from __future__ import annotations

import asyncio
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from arw.v1.node_service_pb2 import GetNodeRequest, ListNodesRequest
from tests.fakes.clock import SetClock
from tests.fakes.linked import linked, node_turns, told
from tests.fakes.patience import SLACK
from tests.fakes.processes import AgentProcess, until
from tests.fakes.shifted_clock import ShiftedClock

pytestmark = pytest.mark.timeout(90)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forward", "back"])
async def test_f38_a_control_plane_whose_clock_is_set_by_an_hour_keeps_its_nodes_and_still_notices_who_falls_silent(
    jump: timedelta,
) -> None:
    clock = SetClock()
    async with linked(clock) as (plane, agent):
        epoch, turns = agent.link()["session_epoch"], await node_turns(plane)
        clock.by = jump
        (node,) = (await plane.nodes.ListNodes(ListNodesRequest())).nodes
        revision = await plane.declare("r1")
        async with asyncio.timeout(5 * SLACK):
            while (await plane.nodes.GetNode(GetNodeRequest(name=node.name))).node.applied_revision < revision:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.1)
        # Longer than the lease, and than whatever is done now and then.
        await asyncio.sleep(3)
        assert (agent.link()["state"], agent.link()["session_epoch"]) == ("in_sync", epoch)
        assert await node_turns(plane) == turns
        assert agent.process
        agent.process.send_signal(signal.SIGSTOP)
        last = await told(plane, "offline")
        agent.process.send_signal(signal.SIGCONT)
        await told(plane, "online", last)


@pytest.fixture
def shifted(tmp_path: Path) -> ShiftedClock:
    made = ShiftedClock(tmp_path)
    made.build()
    return made


async def test_f37_an_agent_whose_clock_is_set_keeps_its_session_and_one_that_starts_too_early_says_so(
    shifted: ShiftedClock,
) -> None:
    async with linked(env=shifted.environment) as (plane, agent):
        epoch, turns = agent.link()["session_epoch"], await node_turns(plane)
        for jump in (HOUR, -HOUR):
            shifted.set(jump)
            await asyncio.sleep(4)
            assert (agent.link()["state"], agent.link()["session_epoch"]) == ("in_sync", epoch)
            assert await node_turns(plane) == turns
        agent.end()
        agent.start()
        link = await asyncio.to_thread(until, lambda: complaint(agent))
        assert link["state"] == "disconnected", "this is not for good"
        assert "counts only from" in link["problem"]["text"]
        assert link["problem"]["remedy"] == "Set this machine's clock."
        shifted.set()
        await asyncio.to_thread(agent.until_link, "in_sync", epoch + 1)


async def test_f39_an_agent_whose_machine_was_suspended_is_heard_of_at_once(shifted: ShiftedClock) -> None:
    """Half an hour by the clock that counts it, and none by the one that its loop sleeps by."""
    async with linked(env=shifted.environment) as (plane, agent):
        assert agent.process
        agent.process.send_signal(signal.SIGSTOP)
        last = await told(plane, "offline")
        shifted.set(wall=HOUR / 2, suspended=HOUR / 2)
        agent.process.send_signal(signal.SIGCONT)
        resumed = time.monotonic()
        await told(plane, "online", last)
        assert time.monotonic() - resumed < 5 * SLACK
        await asyncio.sleep(3)
        assert agent.link()["state"] == "in_sync"
        assert (await node_turns(plane))[-1] == "online"


def complaint(agent: AgentProcess) -> Any:
    """What is shown of the link, once something is wrong with it."""
    link = agent.link()
    return link if link.get("problem") else None
