"""Other settings for an engine that serves: the new one starts beside it, and takes its place once it is ready."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from datetime import timedelta

import pytest

from node_agent.domain.limits import Limits
from node_agent.domain.progress import Traffic
from node_agent.domain.spec import DesiredState, EngineSettings, InstanceName, InstanceSpec, RestoreOrder
from node_agent.domain.status import InstanceState, InstanceStatus
from node_agent.runtimes.process import start_ticks
from node_agent.runtimes.shutdown import stop_everything
from node_agent.runtimes.supervisor import LocalSupervisor
from tests.fakes.instance_specs import NAME
from tests.fakes.local_node import TIMERS, LocalNode, engine_pid, until, until_gone, until_ready, until_started
from tests.fakes.lone_gateway import asking

PLENTY = 1 << 40
HASTY = replace(TIMERS, start_base=timedelta(seconds=3))


def changed(node: LocalNode, generation: int = 2, **more: object) -> InstanceSpec:
    return node.spec(generation=generation, settings=EngineSettings(slots=generation), **more)


def serving(supervisor: LocalSupervisor, pid: int) -> bool:
    (status,) = supervisor.statuses()
    return supervisor.door(NAME) is not None and engine_pid(status) == pid


async def until_incarnation(supervisor: LocalSupervisor, incarnation: int) -> InstanceStatus:
    return await until(supervisor, lambda one: one.state.serves and one.incarnation == incarnation)


async def until_refused(supervisor: LocalSupervisor) -> InstanceStatus:
    return await until(supervisor, lambda one: one.state is InstanceState.DEGRADED)


async def test_the_old_engine_serves_until_the_new_one_does(node: LocalNode) -> None:
    await node.make_engine(ready_after=0.5)
    async with node.agent(node.spec(), free_memory=PLENTY) as supervisor:
        first = await until_ready(supervisor)
        before = supervisor.door(NAME)
        node.history.clear()
        supervisor.desire([changed(node)])
        await until_started(node, 2)
        assert serving(supervisor, engine_pid(first))
        assert supervisor.statuses()[0].detail[-1] == "settings of generation 2 start beside it"
        second = await until_incarnation(supervisor, 2)
        assert supervisor.door(NAME) not in (None, before)
        await until_gone(engine_pid(first))
        assert serving(supervisor, engine_pid(second))
    assert {one.state for one in node.history} == {InstanceState.READY}
    generations = [one.observed_generation for one in node.history if one.incarnation == 1]
    assert set(generations) == {1}
    assert second.observed_generation == 2
    assert node.history[-1].budget is not None
    assert node.history[-1].budget.used == 0


async def test_one_may_take_the_others_place_again_and_again(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec(), free_memory=PLENTY) as supervisor:
        await until_ready(supervisor)
        for number in (2, 3, 4):
            supervisor.desire([changed(node, number)])
            await until_incarnation(supervisor, number)
        os.kill(engine_pid(supervisor.statuses()[0]), signal.SIGKILL)
        await until_incarnation(supervisor, 5)
    assert len(node.starts) == 5
    assert [start_ticks(pid) is not None for pid in node.starts] == [False] * 4 + [True]


async def test_what_the_old_engine_has_in_hand_is_answered_and_then_it_ends(node: LocalNode) -> None:
    await node.make_engine()
    in_hand, closed = {}, []

    async def hook(_name: InstanceName, port: int) -> None:
        closed.append(port)

    async with node.agent(node.spec(), timers=replace(TIMERS, stop_grace=timedelta(seconds=5)), free_memory=PLENTY) as (
        supervisor
    ):
        first = await until_ready(supervisor)
        door = supervisor.door(NAME)
        assert door is not None
        in_hand[door.port] = Traffic(1, since=asyncio.get_running_loop().time())
        supervisor.ask_for_traffic(lambda _name, port: in_hand.get(port))
        supervisor.before_stop(hook)
        supervisor.desire([changed(node)])
        await until_incarnation(supervisor, 2)
        await asyncio.sleep(0.2)
        assert start_ticks(engine_pid(first)) is not None
        in_hand.clear()
        await until_gone(engine_pid(first))
    assert closed == [door.port]


async def test_no_request_fails_while_engines_follow_each_other(node: LocalNode) -> None:
    await node.make_engine(words=3)
    unhurried = replace(TIMERS, stop_grace=timedelta(seconds=10))
    async with node.agent(node.spec(), timers=unhurried, free_memory=PLENTY) as supervisor:
        await until_ready(supervisor)
        async with asking(supervisor, NAME, {}, at_once=3) as gateway:
            for number in (2, 3):
                before = gateway.answers.total()
                supervisor.desire([changed(node, number)])
                await until_incarnation(supervisor, number)
                assert gateway.answers.total() > before
    assert gateway.answers.keys() == {"200"}


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ({"never_ready": True, "exit_after": 0.1, "exit_code": 3}, "ENGINE_EXITED_BEFORE_READY"),
        ({"never_ready": True}, "START_DEADLINE_EXCEEDED"),
    ],
)
async def test_what_does_not_come_up_leaves_the_old_engine_serving(
    node: LocalNode, behaviour: dict[str, object], reason: str
) -> None:
    await node.make_engine()
    async with node.agent(node.spec(), timers=HASTY, free_memory=PLENTY) as supervisor:
        first = await until_ready(supervisor)
        node.behave(**behaviour)
        supervisor.desire([changed(node)])
        status = await until_refused(supervisor)
        assert serving(supervisor, engine_pid(first))
        assert status.problem is not None
        assert (status.problem.reason, status.problem.metadata["generation"]) == (reason, "2")
        assert (status.observed_generation, status.incarnation) == (1, 1)
        assert status.budget is not None
        assert status.budget.used == 0
        supervisor.desire([changed(node)])
        await asyncio.sleep(0.3)
        assert len(node.starts) == 2, "it is not tried again"
        await until_gone(node.starts[1])


async def test_settings_that_cannot_be_launched_leave_the_old_engine_serving(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec(), free_memory=PLENTY) as supervisor:
        first = await until_ready(supervisor)
        supervisor.desire([changed(node, model=replace(node.model, path="/gone.gguf"))])
        status = await until_refused(supervisor)
        assert serving(supervisor, engine_pid(first))
    assert status.problem is not None
    assert status.problem.reason == "MODEL_FILE_MISSING"


async def test_refused_settings_are_tried_again_when_an_operator_asks_or_they_change(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec(), free_memory=PLENTY) as supervisor:
        await until_ready(supervisor)
        node.behave(never_ready=True, exit_after=0.1)
        supervisor.desire([changed(node)])
        await until_refused(supervisor)
        supervisor.desire([changed(node, restore=RestoreOrder(1))])
        await until_started(node, 3)
        await until(supervisor, lambda one: one.state is InstanceState.DEGRADED)
        node.behave()
        supervisor.desire([changed(node, 3, restore=RestoreOrder(1))])
        status = await until(supervisor, lambda one: one.observed_generation == 3)
    assert (status.state, status.problem) == (InstanceState.READY, None)


async def test_an_engine_that_ends_with_its_settings_changed_and_refused_is_started_with_those_it_had(
    node: LocalNode,
) -> None:
    await node.make_engine()
    async with node.agent(node.spec(), free_memory=PLENTY) as supervisor:
        first = await until_ready(supervisor)
        wanted = changed(node, 3, model=replace(node.model, path="/gone.gguf"))
        supervisor.desire([wanted])
        await until_refused(supervisor)
    os.kill(engine_pid(first), signal.SIGKILL)
    async with node.agent(wanted, free_memory=PLENTY) as supervisor:
        status = await until(supervisor, lambda one: one.state.serves)
    assert status.state is InstanceState.DEGRADED
    assert (status.observed_generation, status.detail[-1]) == (1, "2 slots of 4096 tokens")


async def test_without_room_it_is_stopped_first_and_says_why(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec(), free_memory=1) as supervisor:
        first = await until_ready(supervisor)
        supervisor.desire([changed(node)])
        second = await until_incarnation(supervisor, 2)
    assert start_ticks(engine_pid(first)) is None
    assert "both need more memory than is free" in second.detail[-1]
    assert InstanceState.STARTING in {one.state for one in node.history if one.incarnation == 2}


async def test_the_owners_word_on_memory_counts_for_both(node: LocalNode) -> None:
    await node.make_engine()
    tight = Limits(memory_bytes=int(node.model.size_bytes * 1.5))
    async with node.agent(node.spec(), limits=lambda: tight, free_memory=PLENTY) as supervisor:
        await until_ready(supervisor)
        supervisor.desire([changed(node)])
        status = await until_incarnation(supervisor, 2)
    assert "this node's owner" in status.detail[-1]


async def test_settings_taken_back_in_time_end_what_was_to_follow(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec(), free_memory=PLENTY) as supervisor:
        first = await until_ready(supervisor)
        node.behave(never_ready=True)
        supervisor.desire([changed(node)])
        await until_started(node, 2)
        supervisor.desire([node.spec(generation=3)])
        await until_gone(node.starts[1])
        status = await until(supervisor, lambda one: one.observed_generation == 3)
        assert engine_pid(status) == engine_pid(first)
    assert node.history[-1].detail == first.detail


async def test_settings_changed_once_more_in_the_middle_start_anew(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec(), free_memory=PLENTY) as supervisor:
        first = await until_ready(supervisor)
        node.behave(never_ready=True)
        supervisor.desire([changed(node)])
        await until_started(node, 2)
        node.behave()
        supervisor.desire([changed(node, 3)])
        await until_incarnation(supervisor, 3)
        await until_gone(engine_pid(first))
    assert start_ticks(node.starts[1]) is None


async def test_an_engine_that_dies_while_the_next_one_loads_is_followed_by_it(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec(), free_memory=PLENTY) as supervisor:
        first = await until_ready(supervisor)
        node.behave(ready_after=0.6)
        supervisor.desire([changed(node)])
        await until_started(node, 2)
        os.kill(engine_pid(first), signal.SIGKILL)
        status = await until_incarnation(supervisor, 2)
    assert engine_pid(status) == node.starts[1]
    assert len(node.starts) == 2


@pytest.mark.parametrize("removed", [False, True])
async def test_an_order_to_stop_or_a_removal_in_the_middle_ends_both(node: LocalNode, removed: bool) -> None:
    await node.make_engine()
    async with node.agent(node.spec(), free_memory=PLENTY) as supervisor:
        first = await until_ready(supervisor)
        node.behave(never_ready=True, ignore_sigterm=True)
        supervisor.desire([changed(node)])
        await until_started(node, 2)
        gone = asyncio.Event()
        supervisor.on_gone(lambda _: gone.set())
        supervisor.desire([] if removed else [changed(node, desired_state=DesiredState.STOPPED)])
        await until_gone(engine_pid(first))
        await until_gone(node.starts[1])
        if removed:
            await gone.wait()
        else:
            await until(supervisor, lambda one: one.state is InstanceState.OFFLINE)
    assert all(berth.lock_is_free() for berth in node.home.berths())


async def test_what_started_beside_under_an_earlier_agent_is_ended_and_started_again(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec(), free_memory=PLENTY) as supervisor:
        first = await until_ready(supervisor)
        node.behave(never_ready=True)
        supervisor.desire([changed(node)])
        await until_started(node, 2)
    node.behave()
    async with node.agent(changed(node), free_memory=PLENTY) as supervisor:
        await until_gone(node.starts[1])
        status = await until_incarnation(supervisor, 3)
        await until_gone(engine_pid(first))
    assert engine_pid(status) == node.starts[2]


async def test_refused_settings_stay_so_for_the_next_agent(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec(), free_memory=PLENTY) as supervisor:
        first = await until_ready(supervisor)
        node.behave(never_ready=True, exit_after=0.1)
        supervisor.desire([changed(node)])
        await until_refused(supervisor)
    async with node.agent(changed(node), free_memory=PLENTY) as supervisor:
        status = await until_refused(supervisor)
    assert (engine_pid(status), status.observed_generation) == (engine_pid(first), 1)
    assert len(node.starts) == 2


async def test_a_node_that_is_stopped_without_its_agent_ends_both(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec(), free_memory=PLENTY) as supervisor:
        await until_ready(supervisor)
        node.behave(never_ready=True)
        supervisor.desire([changed(node)])
        await until_started(node, 2)
    await stop_everything(node.path / "instances", timedelta(seconds=1))
    assert [start_ticks(pid) for pid in node.starts] == [None, None]
