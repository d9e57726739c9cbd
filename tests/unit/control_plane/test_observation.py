from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.errors import SessionSuperseded
from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.instance import (
    ExitRecord,
    Instance,
    InstanceHealth,
    InstanceState,
    ProcessIdentity,
    Severity,
)
from control_plane.domain.matrix import HttpFigures
from control_plane.domain.node import HeldRemoval, Standing
from control_plane.domain.problem import Problem
from control_plane.use_cases.get_matrix import GetMatrix
from control_plane.use_cases.get_supervisor import GetSupervisor, Process
from control_plane.use_cases.observe_instances import Observation, ObserveInstances
from control_plane.use_cases.publish_health import PublishHealth
from control_plane.use_cases.report_liveness import LivenessChange, ReportLiveness
from control_plane.use_cases.report_troubles import ReportTroubles
from control_plane.use_cases.views import node_view
from tests.fakes.clock import NOON
from tests.fakes.control_plane import World, a_budget, a_model, a_node, a_runtime, a_spec, an_instance

N1 = NodeId("n1")
STARTING, READY, ERROR = InstanceState.STARTING, InstanceState.READY, InstanceState.ERROR
DEGRADED, RESTARTING = InstanceState.DEGRADED, InstanceState.RESTARTING


@pytest.fixture
async def world() -> World:
    world = World()
    await world.has(a_model(), a_node("n1"), a_runtime(node="n1"))
    world.fleet.connect("n1", NOON)
    return world


async def observe(world: World, *instances: Instance, full: bool = False, gone: tuple[str, ...] = ()) -> list[str]:
    """The topics that the report added."""
    before = len(await world.topics())
    use_case = ObserveInstances(world.store, world.fleet, world.clock)
    await use_case(Observation(N1, 1, instances, tuple(RuntimeId(name) for name in gone), full))
    return (await world.topics())[before:]


def matrix_of(world: World) -> GetMatrix:
    return GetMatrix(world.mirror, world.fleet, world.clock, world.traffic, timedelta(seconds=10))


async def test_a_changed_state_is_told_with_slugs_and_labels(world: World) -> None:
    instance = an_instance(
        state=ERROR,
        summary="Engine exited",
        detail=("exit code 1",),
        restart_budget=a_budget(1),
        problem=Problem("ENGINE_EXITED", "Engine exited"),
    )
    assert await observe(world, instance, full=True) == ["runtime.state.changed"]
    (event,) = await world.events()
    assert event.subject == "runtimes/chat"
    assert event.time == NOON
    assert event.payload == {
        "runtime": "chat",
        "id": "chat",
        "node": "n1",
        "state": "error",
        "state_label": "Error",
        "severity": "error",
        "severity_label": "Error",
        "summary": "Engine exited",
        "detail": ["exit code 1"],
        "updated": "2026-11-20T12:00:00Z",
        "restart_budget": {
            "max_restarts": 3,
            "used": 1,
            "remaining": 2,
            "window_seconds": 600,
            "reset_at": "2026-11-20T12:10:00Z",
        },
        "reason": "ENGINE_EXITED",
        "execution_mode": "",
        "execution_reason": "",
    }


async def test_the_same_report_again_writes_nothing(world: World) -> None:
    await observe(world, an_instance(), full=True)
    wakes: list[int] = []
    world.store.on_change(wakes.append)
    moved_on = an_instance(health=InstanceHealth(timedelta(milliseconds=7), 0, 1, 4), update_time=NOON)
    assert await observe(world, moved_on) == []
    assert wakes == []
    assert world.fleet.instance(N1, RuntimeId("chat")) == moved_on


async def test_a_launch_that_ends_well_completes_the_restore(world: World) -> None:
    await observe(world, an_instance(state=STARTING))
    assert await observe(world, an_instance()) == ["runtime.state.changed", "runtime.restore.completed"]
    assert (await world.events("runtime.restore"))[0].payload == {"runtime": "chat", "node": "n1", "ok": True}


async def test_a_launch_that_fails_completes_the_restore_with_the_error(world: World) -> None:
    await observe(world, an_instance(state=STARTING))
    await observe(world, an_instance(state=ERROR, problem=Problem("SPAWN_FAILED", "No such file.")))
    (event,) = await world.events("runtime.restore.completed")
    assert (event.payload["ok"], event.payload["error"]) == (False, "No such file.")


async def test_a_first_full_report_tells_of_no_launch(world: World) -> None:
    assert await observe(world, an_instance(), full=True) == ["runtime.state.changed"]


async def test_a_fast_launch_that_is_first_heard_of_as_ready_is_told(world: World) -> None:
    assert "runtime.restore.completed" in await observe(world, an_instance())


async def test_a_crash_of_what_ran_is_no_end_of_a_restore(world: World) -> None:
    await observe(world, an_instance(), full=True)
    assert await observe(world, an_instance(state=ERROR)) == ["runtime.state.changed"]


def launched(incarnation: int, state: InstanceState = READY, **more: Any) -> Instance:
    process = ProcessIdentity("boot", 4000 + incarnation, 1)
    return an_instance(state=state, incarnation=incarnation, process=process, engine="llama.cpp b1", **more)


async def test_the_supervisors_log_says_how_an_engine_ended_and_which_process_came_after(world: World) -> None:
    await observe(world, launched(1), full=True)
    assert await world.events("runtime.supervisor.log") == []
    crashed = an_instance(state=RESTARTING, incarnation=1, last_exit=ExitRecord(signal=11, log_tail=("a prompt",)))
    assert await observe(world, crashed) == ["runtime.supervisor.log", "runtime.state.changed"]
    await observe(world, launched(2, STARTING, last_exit=crashed.last_exit))
    assert await observe(world, launched(2, last_exit=crashed.last_exit)) == [
        "runtime.state.changed",
        "runtime.restore.completed",
    ]
    ended, started = [event.payload for event in await world.events("runtime.supervisor.log")]
    assert (ended["event"], ended["severity"], ended["text"]) == (
        "engine.ended",
        "warn",
        "The engine was ended by SIGSEGV.",
    )
    assert (ended["incarnation"], ended["signal"], ended["exit_code"], ended["pid"]) == (1, 11, None, None)
    assert (started["event"], started["pid"], started["incarnation"]) == ("engine.started", 4002, 2)
    assert started["text"] == "llama.cpp b1 started as process 4002."
    assert "a prompt" not in str((ended, started))


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (ExitRecord(exit_code=3), "The engine ended with exit code 3."),
        (ExitRecord(signal=9, oom_killed=True), "The engine was killed for lack of memory."),
        (ExitRecord(signal=99), "The engine was ended by signal 99."),
        (ExitRecord(), "The engine ended, and nobody saw how."),
    ],
)
async def test_an_engine_that_ends_and_one_that_follows_in_one_report_are_told_in_their_order(
    world: World, left: ExitRecord, said: str
) -> None:
    await observe(world, launched(1), full=True)
    await observe(world, launched(2, last_exit=left))
    ended, started = [event.payload for event in await world.events("runtime.supervisor.log")]
    assert (ended["text"], ended["incarnation"], ended["severity"]) == (said, 1, "info")
    assert started["incarnation"] == 2


async def test_degradation_is_told_when_it_begins(world: World) -> None:
    await observe(world, an_instance(), full=True)
    degraded = an_instance(state=DEGRADED, summary="A probe failed")
    assert await observe(world, degraded) == ["runtime.state.changed", "runtime.health.degraded"]
    assert await observe(world, an_instance(state=DEGRADED, summary="Two probes failed")) == ["runtime.state.changed"]
    (event,) = await world.events("runtime.health.degraded")
    assert (event.payload["summary"], event.payload["severity_label"]) == ("A probe failed", "Warn")


async def test_a_lesser_accelerator_than_asked_for_is_told(world: World) -> None:
    await world.has(a_runtime(node="n1", spec=a_spec(accelerator=AcceleratorKind.GPU_CUDA)))
    await observe(world, an_instance(state=STARTING))
    topics = await observe(world, an_instance(state=DEGRADED, accelerator=AcceleratorKind.CPU))
    assert topics[-1] == "runtime.accelerator.switch"
    assert await observe(world, an_instance(state=READY, accelerator=AcceleratorKind.CPU)) == ["runtime.state.changed"]
    (event,) = await world.events("runtime.accelerator")
    assert (event.payload["previous_label"], event.payload["accelerator_label"]) == ("GPU (CUDA)", "CPU")


async def test_a_first_full_report_tells_of_no_switch(world: World) -> None:
    await world.has(a_runtime(node="n1", spec=a_spec(accelerator=AcceleratorKind.GPU_CUDA)))
    assert await observe(world, an_instance(accelerator=AcceleratorKind.CPU), full=True) == ["runtime.state.changed"]


async def test_a_change_of_the_device_in_use_is_told(world: World) -> None:
    await observe(world, an_instance(accelerator=AcceleratorKind.GPU_CUDA), full=True)
    assert "runtime.accelerator.switch" in await observe(world, an_instance(accelerator=AcceleratorKind.CPU))


async def test_the_accelerator_that_was_asked_for_is_no_switch(world: World) -> None:
    await world.has(a_runtime(node="n1", spec=a_spec(accelerator=AcceleratorKind.CPU)))
    await observe(world, an_instance(state=STARTING))
    assert "runtime.accelerator.switch" not in await observe(world, an_instance(accelerator=AcceleratorKind.CPU))


async def test_a_full_report_forgets_what_it_leaves_out(world: World) -> None:
    await observe(world, an_instance("a"), an_instance("b"), full=True)
    other = an_instance("c", "n2")
    world.fleet.record(other)
    assert await observe(world, an_instance("a"), full=True) == ["runtime.removed"]
    assert world.fleet.instance(N1, RuntimeId("b")) is None
    assert world.fleet.reported[NodeId("n2"), RuntimeId("c")] == other


async def test_a_partial_report_forgets_only_what_it_names(world: World) -> None:
    await observe(world, an_instance("a"), an_instance("b"), full=True)
    assert await observe(world, gone=("b", "never-heard-of")) == ["runtime.removed"]
    assert world.fleet.instance(N1, RuntimeId("a"))


async def test_an_instance_is_never_milder_than_its_state(world: World) -> None:
    await observe(world, an_instance(state=ERROR))
    assert world.fleet.reported[N1, RuntimeId("chat")].severity == "error"


async def test_a_report_of_an_older_session_writes_nothing(world: World) -> None:
    await world.store.write(lambda tx: tx.open_session(N1))
    with pytest.raises(SessionSuperseded):
        await observe(world, an_instance())
    assert await world.topics() == []


async def test_liveness_of_an_older_session_is_not_told(world: World) -> None:
    await world.store.write(lambda tx: tx.open_session(N1))
    report = ReportLiveness(world.store, world.fleet, world.clock)
    await report([LivenessChange(N1, 1, online=False, time=NOON)])
    assert await world.topics() == []
    await report([LivenessChange(N1, 2, online=True, time=NOON)])
    assert await world.topics() == ["cluster.node.changed"]


HELD = Problem("REMOVAL_GUARD", "Holds back 2 removals: a, b.", "Declare them again.")


async def test_what_is_wrong_with_a_node_is_told_and_shown_while_it_lasts(world: World) -> None:
    trouble = ReportTroubles(world.store, world.fleet, world.clock)
    removals = [HeldRemoval(RuntimeId(runtime), 1) for runtime in "ab"]
    assert await trouble(N1, 1, [HELD], removals)
    assert not await trouble(N1, 1, [HELD], removals)
    shown = node_view(await world.node(), world.fleet)
    assert (shown.summary, shown.severity(NOON)) == (HELD.text, Severity.WARN)
    entry = (await matrix_of(world)()).items[N1]
    assert (entry.status.code, entry.status.detail) == ("degraded", (HELD.text, HELD.remedy))
    assert entry.status.label == f"Degraded - {HELD.text}"
    assert await trouble(N1, 1, [])
    assert node_view(await world.node(), world.fleet).summary == "Connected"
    begun, over = await world.events("cluster.node.changed")
    assert (begun.payload["cause"], begun.payload["reason"]) == ("trouble", "REMOVAL_GUARD")
    assert (begun.payload["severity"], begun.payload["summary"]) == ("warn", HELD.text)
    assert begun.payload["held_removals"] == ["a", "b"]
    assert begun.payload["problems"] == [{"reason": HELD.reason, "text": HELD.text, "remedy": HELD.remedy}]
    assert (over.payload["cause"], over.payload["problems"], over.payload["severity"]) == ("trouble over", [], "info")


async def test_trouble_of_an_older_session_is_neither_told_nor_shown(world: World) -> None:
    await world.store.write(lambda tx: tx.open_session(N1))
    with pytest.raises(SessionSuperseded):
        await ReportTroubles(world.store, world.fleet, world.clock)(N1, 1, [HELD])
    assert node_view(await world.node(), world.fleet).summary == "Connected"


async def test_nodes_that_come_and_go_are_told_with_their_runtimes(world: World) -> None:
    world.fleet.record(an_instance())
    report = ReportLiveness(world.store, world.fleet, world.clock)
    world.fleet.disconnect("n1", NOON)
    world.clock.advance(timedelta(seconds=30))
    await report([LivenessChange(N1, 1, online=False, time=NOON, why="no heartbeat")])
    node, runtime = await world.events()
    assert (node.kind, node.payload["state"], node.payload["cause"]) == (
        "cluster.node.changed",
        "offline",
        "no heartbeat",
    )
    assert (runtime.kind, runtime.payload["state"], runtime.payload["severity"]) == (
        "runtime.state.changed",
        "unknown",
        "warn",
    )
    assert (await world.node()).last_contact_time == NOON
    world.fleet.connect("n1", world.clock.now())
    await report([LivenessChange(N1, 1, online=True, time=world.clock.now())])
    *_, node, runtime = await world.events()
    assert (node.payload["state"], runtime.payload["state"]) == ("online", "ready")


async def test_no_change_of_liveness_is_no_write(world: World) -> None:
    await ReportLiveness(world.store, world.fleet, world.clock)([])
    unknown = LivenessChange(NodeId("nobody"), 1, online=True, time=NOON)
    await ReportLiveness(world.store, world.fleet, world.clock)([unknown])
    assert await world.topics() == []


async def test_the_matrix_joins_nodes_runtimes_and_traffic(world: World) -> None:
    world.fleet.record(an_instance())
    world.traffic.figures[N1] = HttpFigures(timedelta(minutes=5), hits=10, errors=0, mean_first_byte_ms=3.5)
    await world.has(a_runtime("unplaced"))
    matrix = await matrix_of(world)()
    entry = matrix.items[N1]
    assert (entry.runtime.total, entry.runtime.states) == (1, {"ready": 1})
    assert entry.http == world.traffic.figures[N1]
    assert (entry.generate_time, matrix.update_time, matrix.ttl_seconds) == (NOON, NOON, 60)


async def test_revoked_nodes_leave_the_matrix(world: World) -> None:
    await world.has(a_node("n2", standing=Standing.REVOKED))
    assert list((await matrix_of(world)()).items) == [N1]


async def test_a_runtime_and_a_node_of_one_name_stay_apart(world: World) -> None:
    await world.has(a_node("chat"))
    world.fleet.record(an_instance(state=DEGRADED))
    items = (await matrix_of(world)()).items
    assert {node: entry.runtime.total for node, entry in items.items()} == {"chat": 0, "n1": 1}


async def test_health_is_published_when_it_changes_and_not_else(world: World) -> None:
    publish = PublishHealth(matrix_of(world), world.store, world.clock, timedelta(seconds=10))
    world.fleet.record(an_instance())
    assert await publish() == 1
    world.clock.advance(timedelta(seconds=5))
    assert await publish() == 0
    world.fleet.record(an_instance(state=DEGRADED, summary="Slow"))
    assert await publish() == 1
    first, second = await world.events("runtime.health")
    assert first.subject == "nodes/n1"
    assert first.payload["status"]["label"] == "Ready - Runtime telemetry nominal"
    assert first.payload["status"]["severity_label"] == "Info"
    assert second.payload["status"]["label"] == "Degraded - Runtime issues: chat: Slow"
    assert second.payload["runtime"]["states"] == {"degraded": 1}


async def test_what_time_alone_changes_is_published_by_the_next_sweep(world: World) -> None:
    publish = PublishHealth(matrix_of(world), world.store, world.clock, timedelta(seconds=10))
    world.fleet.disconnect("n1", world.clock.now())
    await publish()
    world.clock.advance(timedelta(seconds=9))
    assert await publish() == 0
    world.clock.advance(timedelta(seconds=60))
    assert await publish() == 1


async def test_errors_change_the_health_of_a_node_and_so_does_their_fading(world: World) -> None:
    every = timedelta(seconds=10)
    publish = PublishHealth(matrix_of(world), world.store, world.clock, every)
    await publish()
    world.traffic.figures[N1] = HttpFigures(timedelta(minutes=5), hits=10, errors=5)
    world.clock.advance(every)
    assert await publish() == 1
    world.clock.advance(every)
    assert await publish() == 0
    del world.traffic.figures[N1]
    world.clock.advance(every)
    assert await publish() == 1
    world.clock.advance(every)
    assert await publish() == 0


async def test_a_runtime_that_leaves_a_node_changes_the_health_of_both(world: World) -> None:
    publish = PublishHealth(matrix_of(world), world.store, world.clock, timedelta(seconds=10))
    await world.has(a_node("n2"))
    await publish()
    await world.has(replace(await world.runtime(), node=NodeId("n2")))
    assert await publish() == 2


async def test_the_supervisor_names_its_processes(world: World) -> None:
    await world.has(a_node("n1", machine_id_hash="here", agent_pid=42), a_node("n2", machine_id_hash="there"))
    world.fleet.record(an_instance())
    snapshot = await GetSupervisor(world.store, world.fleet, world.clock, Process(7, "0.1.0", "here"))()
    assert (snapshot.control_plane_pid, snapshot.agent_pid, snapshot.version) == (7, 42, "0.1.0")
    assert [row.status.state for row in snapshot.rows] == [READY]
    world.fleet.disconnect("n1")
    snapshot = await GetSupervisor(world.store, world.fleet, world.clock, Process(7, "0.1.0", "here"))()
    assert snapshot.agent_pid == 0
    assert [row.status.health_grade for row in snapshot.rows] == ["D"]
