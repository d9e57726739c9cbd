"""A node whose disk is nearly full, with real processes: what runs goes on, and nothing new begins."""

import os
import signal
from dataclasses import replace
from datetime import timedelta

from node_agent.domain.disk_room import Room, pressure
from node_agent.domain.spec import InstanceName
from node_agent.domain.status import InstanceState, InstanceStatus, Problem
from tests.fakes.local_node import TIMERS, LocalNode, engine_pid, until, until_ready, until_state

FULL = pressure(Room("/state", 0, 1 << 30))
LATE = InstanceName("nodes/n/instances/late")


async def test_without_room_what_runs_is_restarted_and_what_is_new_waits_until_there_is_room(node: LocalNode) -> None:
    await node.make_engine()
    problem: list[Problem] = []
    late = node.spec(name=LATE, runtime_id="late")
    async with node.agent(node.spec(), closed=lambda: next(iter(problem), None)) as supervisor:
        first = await until_ready(supervisor)
        problem.append(FULL)
        supervisor.desire([node.spec(), late])
        waiting = await until(supervisor, lambda one: one.name == LATE and one.problem is not None)
        assert (waiting.state, waiting.problem) == (InstanceState.OFFLINE, FULL)
        os.kill(engine_pid(first), signal.SIGKILL)
        second = await until(supervisor, lambda one: one.name != LATE and one.incarnation == 2 and one.state.serves)
        assert second.problem is None
        problem.clear()
        supervisor.look_again()
        await until(supervisor, _is_late_and_ready)


def _is_late_and_ready(one: InstanceStatus) -> bool:
    return one.name == LATE and one.state is InstanceState.READY


async def test_an_engine_that_is_trusted_at_last_is_started_at_once_however_far_the_next_look_is(
    node: LocalNode,
) -> None:
    await node.make_engine()
    node.binary.write_text(node.binary.read_text() + "# changed\n")
    patient = replace(TIMERS, recheck=timedelta(hours=1), tick=timedelta(hours=1))
    async with node.agent(node.spec(), timers=patient) as supervisor:
        status = await until_state(supervisor, InstanceState.ERROR)
        assert status.problem is not None
        assert status.problem.reason == "ENGINE_NOT_TRUSTED"
        await node.trust(node.binary)
        supervisor.engines_changed()
        await until_ready(supervisor)


async def test_another_engine_does_nothing_for_what_waits_for_its_model(node: LocalNode) -> None:
    await node.make_engine()
    patient = replace(TIMERS, recheck=timedelta(hours=1), tick=timedelta(hours=1))
    lost = node.spec(model=replace(node.model, path="/nowhere/model.gguf"))
    async with node.agent(lost, timers=patient) as supervisor:
        await until_state(supervisor, InstanceState.ERROR)
        told = len(node.history)
        supervisor.engines_changed()
        supervisor.desire([lost, node.spec(name=LATE, runtime_id="late")])
        await until(supervisor, _is_late_and_ready)
        assert [status for status in node.history[told:] if status.name != LATE] == []
