"""What engines take of the machine and its devices, and give back: real processes, set figures of devices."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from node_agent.domain.spec import DesiredState
from node_agent.domain.status import InstanceState
from node_agent.runtimes.leaks import LeakTimers, LeakWatch
from node_agent.runtimes.tree import Tree
from tests.fakes.leaky_hardware import GPU, LeakyHardware, usage
from tests.fakes.local_node import PATIENCE_S, LocalNode, engine_pid, until, until_ready, until_state

QUICK = LeakTimers(timedelta(seconds=0.3), timedelta(seconds=0.05))


async def test_after_a_stop_host_memory_is_gone_and_a_device_that_keeps_its_part_gets_no_launch(
    node: LocalNode,
) -> None:
    await node.make_engine()
    hardware = LeakyHardware()
    watch = LeakWatch(hardware, QUICK)
    running = asyncio.create_task(watch.run())
    strict = node.spec(accelerator="gpu_cuda", degrade_on_missing_accelerator=False)
    async with node.agent(node.spec(), leaks=watch) as supervisor:
        first = await until_ready(supervisor)
        hardware.now = usage(5, **{f"p{engine_pid(first)}": 4})
        async with asyncio.timeout(PATIENCE_S):
            looks = hardware.looks
            while hardware.looks == looks:  # noqa: ASYNC110 - nothing tells of a look
                await asyncio.sleep(0.01)
        supervisor.desire([node.spec(desired_state=DesiredState.STOPPED)])
        await until_state(supervisor, InstanceState.OFFLINE)
        assert not Tree(node.home, node.home.run()).members()
        async with asyncio.timeout(PATIENCE_S):
            while GPU not in watch.leaks():  # noqa: ASYNC110 - the watch works by the clock
                await asyncio.sleep(0.01)
        supervisor.desire([strict])
        blocked = await until(supervisor, lambda one: one.problem is not None)
        assert blocked.problem is not None
        assert blocked.problem.reason == "ACCELERATOR_LEAKING"
        assert len(node.starts) == 1
        hardware.now = usage(1)
        supervisor.desire([node.spec()])
        await until_ready(supervisor)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_a_launch_teaches_what_it_took_and_the_next_agent_knows_it(node: LocalNode) -> None:
    await node.make_engine()
    digest = await asyncio.to_thread(node.digests.sha256, node.model.path)
    wanted = node.spec(model=replace(node.model, sha256=digest))
    async with node.agent(wanted) as supervisor:
        learnt = (await until(supervisor, lambda one: one.footprint is not None)).footprint
    assert learnt is not None
    assert (learnt.key.model_sha256, learnt.key.accelerator, learnt.launches) == (digest, "cpu", 1)
    assert learnt.memory_bytes > 1 << 20
    assert learnt.load_time > timedelta()
    async with node.agent(wanted) as supervisor:
        again = (await until(supervisor, lambda one: one.footprint is not None)).footprint
    assert again is not None
    assert (again.launches, again.load_time) == (1, node.footprints.slowest_load(learnt.key))
