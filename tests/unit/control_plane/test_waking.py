"""Runtimes that are loaded on demand, from the request to the place in memory and out of it again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from control_plane.domain.errors import InvalidArgument, NotFound
from control_plane.domain.ids import JobId, NodeId, RuntimeId
from control_plane.domain.instance import InstanceState, ProcessIdentity
from control_plane.domain.jobs.begin import Touch
from control_plane.domain.jobs.facts import Facts
from control_plane.domain.jobs.job import Job, JobKind, JobOrder, JobState
from control_plane.domain.jobs.steps import next_step
from control_plane.domain.node import LocalLimits
from control_plane.domain.placing.residents import asked_for, not_woken
from control_plane.domain.problem import Problem
from control_plane.domain.residence import Residence, Sleep, SleepCause
from control_plane.domain.runtime import DesiredState, Runtime
from control_plane.domain.view import view_of
from control_plane.use_cases.hibernate_runtime import HibernateRuntime
from control_plane.use_cases.restore_runtime import RestoreRuntime
from control_plane.use_cases.settle_residents import PATIENCE, SettleResidents
from control_plane.use_cases.shutdown_runtime import ShutdownRuntime
from control_plane.use_cases.wake_runtime import WakeRuntime
from tests.fakes.clock import NOON
from tests.fakes.control_plane import World, a_model, a_node, a_runtime, a_spec, an_instance, an_inventory

STAY = timedelta(seconds=10)
ON_CALL = Residence(on_demand=True, idle_unload=timedelta(minutes=1))
ALONE = replace(an_inventory(), limits=LocalLimits(max_runtimes=1))
"""Its owner lets one runtime run at a time."""
PROCESS = ProcessIdentity("boot", 1, 1)


def a_sleeper(name: str = "chat", **changed: Any) -> Runtime:
    said: dict[str, Any] = {
        "desired_state": DesiredState.HIBERNATED,
        "sleep": Sleep(NOON, SleepCause.DECLARED),
        **changed,
    }
    return a_runtime(name, "n1", a_spec(residence=ON_CALL), **said)


@dataclass(slots=True)
class Bench:
    world: World
    settle: SettleResidents
    wake: WakeRuntime
    hibernate: HibernateRuntime

    async def asked(self, name: str = "chat") -> Runtime:
        await self.wake.for_request(RuntimeId(name))
        await self.settle()
        return await self.world.runtime(name)

    def serves(self, name: str, idle: float | None = 60) -> None:
        now = self.world.clock.now()
        since = None if idle is None else now - timedelta(seconds=idle)
        told = an_instance(name, idle_since=since, ready_time=NOON - timedelta(hours=1), process=PROCESS)
        self.world.fleet.record(told)

    def down(self, name: str) -> None:
        self.world.fleet.record(an_instance(name, state=InstanceState.HIBERNATED))


@pytest.fixture
async def bench() -> Bench:
    world = World()
    await world.has(a_model(), a_node("n1"), a_sleeper())
    world.fleet.connect("n1")
    settle = SettleResidents(world.store, world.mirror, world.fleet, world.clock, stay=STAY)
    parts = world.store, world.fleet, world.clock
    return Bench(world, settle, WakeRuntime(*parts), HibernateRuntime(*parts))


async def test_a_request_wakes_what_is_loaded_on_demand(bench: Bench) -> None:
    row = await bench.asked()
    assert (row.desired_state, row.sleep) == (DesiredState.RUNNING, None)
    told = await bench.world.events("runtime.wake")
    assert [(event.kind, event.payload.get("cause"), event.payload.get("ok")) for event in told] == [
        ("runtime.wake.requested", "request", None),
        ("runtime.wake.completed", None, True),
    ]


async def test_many_requests_are_one_change(bench: Bench) -> None:
    for _ in range(5):
        await bench.wake.for_request(RuntimeId("chat"))
    assert len(await bench.world.events("runtime.wake.requested")) == 1


async def test_a_request_wakes_nothing_that_is_not_loaded_on_demand_and_a_person_does(bench: Bench) -> None:
    await bench.world.has(replace(a_sleeper(), spec=a_spec()))
    assert (await bench.asked()).sleep == Sleep(NOON, SleepCause.DECLARED)
    await bench.wake(RuntimeId("chat"))
    await bench.settle()
    assert (await bench.world.runtime()).desired_state is DesiredState.RUNNING


async def test_what_a_person_shut_down_is_woken_by_nobody(bench: Bench) -> None:
    await ShutdownRuntime(bench.world.store, bench.world.fleet, bench.world.clock)(RuntimeId("chat"))
    assert (await bench.asked()).desired_state is DesiredState.STOPPED
    with pytest.raises(InvalidArgument) as refused:
        await bench.wake(RuntimeId("chat"))
    assert "arwctl runtime restore chat" in refused.value.remedy
    with pytest.raises(NotFound):
        await bench.wake(RuntimeId("nobody"))


async def test_a_restore_ends_the_sleep_too(bench: Bench) -> None:
    await RestoreRuntime(bench.world.store, bench.world.fleet, bench.world.clock)(RuntimeId("chat"))
    row = await bench.world.runtime()
    assert (row.desired_state, row.sleep) == (DesiredState.RUNNING, None)


async def test_what_nobody_asks_for_is_hibernated(bench: Bench) -> None:
    await bench.asked()
    bench.serves("chat", idle=59)
    assert await bench.settle() == 0
    bench.world.clock.advance(timedelta(seconds=1))
    assert await bench.settle() == 1
    row = await bench.world.runtime()
    assert row.sleep == Sleep(bench.world.clock.now(), SleepCause.IDLE)
    (event,) = await bench.world.events("runtime.hibernate")
    assert event.payload == {"runtime": "chat", "cause": "idle", "problem": None}


async def test_what_has_a_request_in_hand_is_never_hibernated(bench: Bench) -> None:
    await bench.asked()
    bench.serves("chat", idle=None)
    bench.world.clock.advance(timedelta(hours=1))
    assert await bench.settle() == 0


async def test_an_idle_one_leaves_first_and_the_other_wakes_once_its_memory_is_free(bench: Bench) -> None:
    await bench.world.has(a_node("n1", inventory=ALONE), a_sleeper("other"))
    await bench.asked("chat")
    bench.serves("chat", idle=20)
    other = await bench.asked("other")
    assert other.sleep is not None
    assert other.sleep.problem is not None
    assert other.sleep.problem.reason == "LOCAL_POLICY_DENIED"
    chat = await bench.world.runtime("chat")
    assert chat.sleep == Sleep(NOON, SleepCause.ROOM)
    assert await bench.settle() == 0
    bench.down("chat")
    assert await bench.settle() == 1
    assert (await bench.world.runtime("other")).desired_state is DesiredState.RUNNING


async def test_nobody_leaves_while_busy_and_who_waits_wakes_when_that_ends(bench: Bench) -> None:
    await bench.world.has(a_node("n1", inventory=ALONE), a_sleeper("other"))
    await bench.asked("chat")
    bench.serves("chat", idle=None)
    await bench.asked("other")
    assert (await bench.world.runtime("chat")).desired_state is DesiredState.RUNNING
    bench.serves("chat", idle=20)
    await bench.settle()
    assert (await bench.world.runtime("chat")).sleep is not None


async def test_who_waits_for_room_in_vain_is_told_why_in_the_end(bench: Bench) -> None:
    await bench.world.has(a_node("n1", inventory=ALONE), a_sleeper("other"))
    await bench.asked("chat")
    bench.serves("chat", idle=None)
    await bench.asked("other")
    bench.world.clock.advance(PATIENCE)
    await bench.settle()
    sleep = (await bench.world.runtime("other")).sleep
    assert sleep is not None
    assert (sleep.wake, sleep.failed) == (None, bench.world.clock.now())
    (event,) = [one for one in await bench.world.events("runtime.wake.completed") if not one.payload["ok"]]
    assert event.payload["problem"]["reason"] == "LOCAL_POLICY_DENIED"


async def test_a_pinned_neighbour_is_a_refusal_at_once(bench: Bench) -> None:
    pinned = a_runtime("pinned", "n1", a_spec(residence=Residence(on_demand=True, keep_loaded=True)))
    await bench.world.has(a_node("n1", inventory=ALONE), pinned)
    bench.serves("pinned")
    row = await bench.asked()
    assert row.sleep is not None
    assert row.sleep.problem is not None
    assert row.sleep.wake is None


async def test_what_has_no_room_in_sight_wakes_on_another_node_that_has(bench: Bench) -> None:
    await bench.world.has(a_node("n1", inventory=ALONE), a_node("n2"), a_runtime("plain", "n1"))
    bench.world.fleet.connect("n2")
    bench.serves("plain")
    row = await bench.asked()
    assert (row.node, row.fence, row.desired_state) == (NodeId("n2"), 2, DesiredState.RUNNING)
    assert await bench.world.desired("n2") == ["nodes/n2/instances/chat"]
    assert [event.payload["ok"] for event in await bench.world.events("runtime.wake.completed")] == [True]


async def test_what_may_have_its_room_shortly_stays_on_its_node(bench: Bench) -> None:
    await bench.world.has(a_node("n1", inventory=ALONE), a_node("n2"), a_sleeper("other"))
    bench.world.fleet.connect("n2")
    await bench.asked("chat")
    bench.serves("chat", idle=20)
    assert (await bench.asked("other")).node == NodeId("n1")
    assert (await bench.world.runtime("chat")).sleep is not None


async def test_who_was_asked_for_first_has_its_turn_first(bench: Bench) -> None:
    await bench.world.has(a_node("n1", inventory=ALONE), a_sleeper("a-later"))
    await bench.wake.for_request(RuntimeId("chat"))
    bench.world.clock.advance(timedelta(seconds=1))
    await bench.wake.for_request(RuntimeId("a-later"))
    await bench.settle()
    assert (await bench.world.runtime("chat")).desired_state is DesiredState.RUNNING
    assert (await bench.world.runtime("a-later")).sleep is not None


async def test_what_lies_on_a_silent_node_says_so(bench: Bench) -> None:
    bench.world.fleet.disconnect("n1", NOON)
    row = await bench.asked()
    assert row.sleep is not None
    assert row.sleep.problem is not None
    assert row.sleep.problem.reason == "NODE_OFFLINE"


async def test_what_has_no_place_says_why(bench: Bench) -> None:
    problem = Problem("NO_NODE", "No machine has joined yet.")
    await bench.world.has(replace(a_sleeper(), node=None, placement_problem=problem))
    row = await bench.asked()
    assert row.sleep is not None
    assert row.sleep.problem == problem


async def test_a_person_hibernates_what_runs_and_what_is_shut_down(bench: Bench) -> None:
    await bench.world.has(a_runtime("plain", "n1"), a_runtime("off", "n1", desired_state=DesiredState.STOPPED))
    for name in ("plain", "off", "off"):
        view = await bench.hibernate(RuntimeId(name))
        assert view.runtime.sleep == Sleep(NOON, SleepCause.OPERATOR)
    assert len(await bench.world.events("runtime.hibernate.requested")) == 2
    with pytest.raises(NotFound):
        await bench.hibernate(RuntimeId("nobody"))


async def test_a_stopped_node_of_an_earlier_version_counts_as_hibernated(bench: Bench) -> None:
    bench.world.fleet.record(an_instance("chat", state=InstanceState.OFFLINE))
    view = await bench.hibernate(RuntimeId("chat"))
    assert view.state is InstanceState.HIBERNATED
    assert view.instance is not None
    assert view.instance.node == NodeId("n1")


async def test_a_job_that_ensures_readiness_asks_for_it_as_a_request_does(bench: Bench) -> None:
    order = JobOrder(JobKind.ENSURE_READY, RuntimeId("chat"), timedelta(minutes=10))
    job = Job(JobId("j"), order, "local", "uid-chat", NOON, NOON + timedelta(minutes=10))
    step = next_step(job, Facts(view_of(a_sleeper(), None, online=True), NOON))
    assert step is not None
    assert step.runtime is not None
    assert (step.touch, step.job.state) == (Touch.WAKE, JobState.RUNNING)
    assert step.runtime == asked_for(a_sleeper(), NOON)
    waiting = Facts(view_of(step.runtime, None, online=True), NOON)
    going_on = next_step(step.job, waiting)
    assert going_on is None or not going_on.job.state.over
    failed = not_woken(step.runtime, Problem("MEMORY_INSUFFICIENT", "It is full."), NOON)
    ended = next_step(step.job, Facts(view_of(failed, None, online=True), NOON))
    assert ended is not None
    assert ended.job.problem == Problem("MEMORY_INSUFFICIENT", "It is full.")
    assert ended.job.state is JobState.ABORTED
