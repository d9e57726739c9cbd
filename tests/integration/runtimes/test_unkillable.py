"""Engines that survive SIGKILL, with real processes that the kernel holds."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from node_agent.domain.spec import DesiredState, InstanceName
from node_agent.domain.status import InstanceState, InstanceStatus
from node_agent.runtimes import ending
from node_agent.runtimes.leaks import LeakTimers, LeakWatch
from node_agent.runtimes.survivors import Survivors
from tests.fakes.leaky_hardware import GPU, LeakyHardware, usage
from tests.fakes.local_node import (
    PATIENCE_S,
    TIMERS,
    LocalNode,
    engine_pid,
    until,
    until_gone,
    until_ready,
    until_state,
)
from tests.fakes.stuck import refusal, stuck

pytestmark = pytest.mark.skipif(bool(refusal()), reason=refusal())
ALARM = timedelta(seconds=0.6)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "KILL_PATIENCE", timedelta(seconds=0.2))


def unkillable(status: InstanceStatus) -> bool:
    return status.problem is not None and status.problem.reason == "UNKILLABLE"


async def test_f45_what_survives_sigkill_is_stopping_and_raises_an_alarm_until_it_ends(node: LocalNode) -> None:
    await node.make_engine()
    survivors, told = Survivors(ALARM), []
    survivors.on_change(lambda: told.append(survivors.problem()))
    async with node.agent(node.spec(), survivors=survivors) as supervisor:
        pid = engine_pid(await until_ready(supervisor))
        with stuck(pid):
            supervisor.desire([node.spec(desired_state=DesiredState.STOPPED)])
            first = await until(supervisor, unkillable)
            assert (first.state, first.alarm) == (InstanceState.STOPPING, False)
            assert engine_pid(first) == pid
            late = await until(supervisor, lambda one: one.alarm)
            assert (late.state, unkillable(late)) == (InstanceState.STOPPING, True)
            problem = survivors.problem()
            assert problem is not None
            assert (problem.reason, problem.metadata["instance"]) == ("UNKILLABLE", late.name)
        over = await until_state(supervisor, InstanceState.OFFLINE)
        assert (over.problem, over.alarm, survivors.problem()) == (None, False, None)
    assert told == [problem, None]
    assert over.budget is not None
    assert over.budget.used == 0


async def test_f45_nothing_is_started_in_place_of_a_hanging_engine_that_cannot_be_killed(node: LocalNode) -> None:
    await node.make_engine()
    survivors = Survivors(ALARM)
    async with node.agent(node.spec(), survivors=survivors) as supervisor:
        pid = engine_pid(await until_ready(supervisor))
        with stuck(pid):
            await until(supervisor, lambda one: one.alarm)
            assert node.starts == [pid]
        again = await until(supervisor, lambda one: one.state is InstanceState.READY and one.incarnation == 2)
    assert again.problem is None
    assert survivors.problem() is None


async def test_f45_the_next_agent_finds_it_and_starts_nothing_in_its_place(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        pid = engine_pid(await until_ready(supervisor))
    with stuck(pid):
        async with node.agent(node.spec(desired_state=DesiredState.STOPPED)) as supervisor:
            await until(supervisor, unkillable)
        async with node.agent(node.spec()) as supervisor:
            await until(supervisor, unkillable)
            assert node.starts == [pid]
    await until_gone(pid)


async def test_f45_its_device_gets_no_launch_before_it_is_gone(node: LocalNode) -> None:
    await node.make_engine()
    hardware = LeakyHardware()
    watch = LeakWatch(hardware, LeakTimers(timedelta(seconds=0.3), timedelta(seconds=0.05)))
    other = node.spec(
        name=InstanceName("nodes/n/instances/other"),
        runtime_id="other",
        accelerator="gpu_cuda",
        degrade_on_missing_accelerator=False,
    )
    stopped = node.spec(desired_state=DesiredState.STOPPED)
    async with node.agent(node.spec(), leaks=watch, timers=replace(TIMERS, recheck=ALARM)) as supervisor:
        pid = engine_pid(await until_ready(supervisor))
        hardware.now = usage(5, **{f"p{pid}": 4})
        looks = hardware.looks
        async with asyncio.timeout(PATIENCE_S):
            while hardware.looks == looks:  # noqa: ASYNC110 - nothing tells of a look
                await asyncio.sleep(0.01)
        with stuck(pid):
            supervisor.desire([stopped])
            await until(supervisor, unkillable)
            assert GPU in watch.leaks()
            supervisor.desire([stopped, other])
            blocked = await until(supervisor, lambda one: one.name == other.name and one.problem is not None)
            assert blocked.problem is not None
            assert blocked.problem.reason == "ACCELERATOR_LEAKING"
            assert "survives SIGKILL" in blocked.problem.text
        await until(supervisor, lambda one: one.name == stopped.name and one.state is InstanceState.OFFLINE)
        assert watch.leaks() == {}
