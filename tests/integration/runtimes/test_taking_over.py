"""What a new agent says of engines that an earlier one left running, and when."""

from __future__ import annotations

import asyncio

import pytest

from node_agent.domain.status import InstanceState
from node_agent.runtimes import assembly
from node_agent.runtimes.process import start_ticks
from tests.fakes.instance_specs import NAME
from tests.fakes.local_node import TIMERS, LocalNode, engine_pid, until_gone, until_ready


async def test_adoption_is_over_when_an_engine_that_served_has_answered(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        pid = engine_pid(await until_ready(supervisor))
    async with node.agent(node.spec()) as supervisor, asyncio.timeout(10):
        await supervisor.adopted()
        (status,) = supervisor.statuses()
    assert status.state is InstanceState.READY
    assert engine_pid(status) == pid


async def test_adoption_is_over_at_once_where_there_is_nothing(node: LocalNode) -> None:
    async with node.agent() as supervisor, asyncio.timeout(5):
        await supervisor.adopted()
        assert supervisor.statuses() == []


async def test_nothing_is_adopted_before_anything_is_desired(node: LocalNode) -> None:
    supervisor = assembly.supervisor(node.path, node.digests, TIMERS)
    task = asyncio.create_task(supervisor.run())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await supervisor.adopted()
    task.cancel()
    await asyncio.wait({task})


async def test_a_spared_engine_runs_on_until_it_is_spared_no_more(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        pid = engine_pid(await until_ready(supervisor))
        assert supervisor.left_running() == set()
    async with node.agent() as supervisor:
        supervisor.desire((), {NAME})
        await supervisor.adopted()
        assert supervisor.left_running() == {NAME}
        assert start_ticks(pid) is not None
        supervisor.desire(())
        await until_gone(pid)


async def test_a_spared_engine_that_is_wanted_again_is_taken_over(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        pid = engine_pid(await until_ready(supervisor))
    async with node.agent() as supervisor:
        supervisor.desire((), {NAME})
        await supervisor.adopted()
        supervisor.desire([node.spec()])
        assert engine_pid(await until_ready(supervisor)) == pid
    assert node.starts == [pid]
