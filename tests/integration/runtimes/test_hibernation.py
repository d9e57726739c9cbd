"""An engine that leaves memory, and what it has in hand."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from node_agent.domain.progress import Traffic
from node_agent.domain.spec import DesiredState
from node_agent.domain.status import InstanceState, InstanceStatus
from node_agent.runtimes.process import start_ticks
from tests.fakes.instance_specs import NAME
from tests.fakes.local_node import LocalNode, engine_pid, until_ready, until_state

REST: dict[str, Any] = {"desired_state": DesiredState.STOPPED, "rests": True}


async def until_idle(statuses: list[InstanceStatus]) -> None:
    async with asyncio.timeout(20):
        while not statuses or statuses[-1].idle_since is None:  # noqa: ASYNC110 - said by a timer of the agent
            await asyncio.sleep(0.01)


async def test_what_leaves_memory_answers_what_it_has_in_hand_and_comes_back(node: LocalNode) -> None:
    await node.make_engine()
    spec = replace(node.spec(), on_demand=True)
    async with node.agent(spec) as supervisor:
        first = engine_pid(await until_ready(supervisor))
        in_hand = [Traffic(1, since=0.0)]
        supervisor.ask_for_traffic(lambda *_: in_hand[0] if in_hand else None)
        supervisor.desire([replace(spec, revision=2, **REST)])
        await until_state(supervisor, InstanceState.STOPPING)
        assert supervisor.door(NAME) is None
        assert start_ticks(first) is not None
        in_hand.clear()
        status = await until_state(supervisor, InstanceState.HIBERNATED)
        assert (status.summary, status.process) == ("Hibernated", None)
        supervisor.desire([replace(spec, revision=3)])
        assert engine_pid(await until_ready(supervisor)) != first


async def test_a_person_who_wants_it_stopped_waits_for_no_request(node: LocalNode) -> None:
    await node.make_engine()
    spec = node.spec()
    async with node.agent(spec) as supervisor:
        await until_ready(supervisor)
        supervisor.ask_for_traffic(lambda *_: Traffic(1, since=0.0))
        supervisor.desire([replace(spec, revision=2, **REST)])
        await until_state(supervisor, InstanceState.STOPPING)
        supervisor.desire([replace(spec, revision=3, desired_state=DesiredState.STOPPED)])
        await until_state(supervisor, InstanceState.OFFLINE)


async def test_it_says_when_nothing_is_asked_of_it_and_when_something_is_again(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(replace(node.spec(), on_demand=True)) as supervisor:
        statuses: list[InstanceStatus] = []
        supervisor.on_status(statuses.append)
        await until_ready(supervisor)
        await until_idle(statuses)
        assert supervisor.door(NAME) is not None
        assert statuses[-1].idle_since is None
        await until_idle(statuses)
