from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from control_plane.domain.errors import EtagMismatch, InvalidArgument, NotFound, RequestIdReused
from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.instance import InstanceState
from control_plane.domain.node import Drain, HeldRemoval
from control_plane.domain.node_view import Remainder
from control_plane.domain.placing.placement import verdicts
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import Departure, DesiredState, PlacementSettings, PlacementStrategy
from control_plane.messages.nodes import node_to_proto
from control_plane.store.codec import NODE, RUNTIME
from control_plane.use_cases.allow_removals import AllowRemovals
from control_plane.use_cases.drain_node import DrainNode, ResumeNode
from control_plane.use_cases.place_runtimes import PlaceRuntimes
from control_plane.use_cases.read_nodes import GetNode
from control_plane.use_cases.release_drained import ReleaseDrained
from tests.fakes.clock import NOON
from tests.fakes.control_plane import World, a_model, a_node, a_runtime, a_spec, an_instance, seen

N1, N2 = NodeId("n1"), NodeId("n2")
CHAT = RuntimeId("chat")
MINUTE = timedelta(minutes=1)
ASKED = "00000000-0000-4000-8000-000000000001"


@pytest.fixture
async def world() -> World:
    world = World()
    await world.has(a_model(), a_node("n1"), a_node("n2"), a_runtime(node="n1"))
    world.fleet.connect("n1")
    world.fleet.connect("n2")
    return world


def drain(world: World) -> DrainNode:
    return DrainNode(world.store, world.fleet, world.clock)


def resume(world: World) -> ResumeNode:
    return ResumeNode(world.store, world.fleet, world.clock)


def placing(world: World) -> PlaceRuntimes:
    return PlaceRuntimes(world.store, world.mirror, world.fleet, world.clock)


async def test_what_fits_elsewhere_leaves_a_node_that_is_drained(world: World) -> None:
    place = placing(world)
    await place()
    await drain(world)(N1)
    assert await place() == 1
    moved = await world.runtime()
    assert (moved.node, moved.fence, moved.stuck) == ("n2", 2, None)
    assert await world.desired("n1") == []
    assert await place() == 0


async def test_nothing_new_comes_to_a_node_that_is_drained_until_it_is_resumed(world: World) -> None:
    await drain(world)(N1)
    await drain(world)(N2)
    await world.has(a_runtime("new"))
    place = placing(world)
    await place()
    waiting = await world.runtime("new")
    assert waiting.placement_problem
    assert waiting.placement_problem.reason == "UNSCHEDULABLE"
    assert "Node n2 is being drained." in waiting.placement_problem.text
    await resume(world)(N2)
    await place()
    assert (await world.runtime("new")).node == "n2"


async def test_what_left_does_not_return_when_the_node_is_resumed(world: World) -> None:
    place = placing(world)
    await drain(world)(N1)
    await place()
    await resume(world)(N1)
    assert await place() == 0
    assert (await world.runtime()).node == "n2"


async def test_what_fits_nowhere_else_stays_and_says_why(world: World) -> None:
    await world.has(replace(await world.node("n2"), schedulable=False))
    await drain(world)(N1)
    place = placing(world)
    assert await place() == 1
    runtime = await world.runtime()
    assert (runtime.node, runtime.fence, runtime.placement_problem) == ("n1", 1, None)
    assert runtime.stuck
    assert "It is to leave node n1, and fits nowhere else." in runtime.stuck.text
    assert "Node n2 takes nothing new." in runtime.stuck.text
    assert await world.desired("n1") == ["nodes/n1/instances/chat"]
    world.clock.advance(timedelta(days=30))
    assert await place() == 0
    (own, _) = verdicts(runtime, a_model(), [seen(await world.node("n1")), seen(await world.node("n2"))], {})
    assert [problem.text for problem in own.problems] == ["Node n1 is being drained."]


async def test_what_is_stuck_leaves_as_soon_as_it_fits_somewhere(world: World) -> None:
    await world.has(replace(await world.node("n2"), schedulable=False))
    await drain(world)(N1)
    place = placing(world)
    await place()
    await world.has(replace(await world.node("n2"), schedulable=True))
    assert await place() == 1
    moved = await world.runtime()
    assert (moved.node, moved.stuck) == ("n2", None)


async def test_what_is_stuck_is_well_again_when_the_node_is_resumed(world: World) -> None:
    await world.has(replace(await world.node("n2"), schedulable=False))
    await drain(world)(N1)
    place = placing(world)
    await place()
    await resume(world)(N1)
    assert await place() == 1
    kept = await world.runtime()
    assert (kept.node, kept.stuck, kept.fence) == ("n1", None, 1)


async def test_at_the_deadline_what_fits_nowhere_else_is_stopped_with_the_reason(world: World) -> None:
    await world.has(replace(await world.node("n2"), schedulable=False))
    await drain(world)(N1, MINUTE)
    place = placing(world)
    await place()
    runtime = await world.runtime()
    assert runtime.stuck
    assert "It is stopped at 2026-11-20T12:01:00Z." in runtime.stuck.text
    world.clock.advance(MINUTE)
    assert await place() == 1
    stopped = await world.runtime()
    assert (stopped.node, stopped.stuck) == (None, None)
    assert stopped.placement_problem
    assert stopped.placement_problem.reason == "UNSCHEDULABLE"
    assert await world.desired("n1") == []
    await resume(world)(N1)
    await place()
    back = await world.runtime()
    assert (back.node, back.fence) == ("n1", 2)


async def test_a_deadline_of_now_stops_at_once_and_survives_a_restart(world: World) -> None:
    await world.has(replace(await world.node("n2"), schedulable=False))
    await drain(world)(N1, timedelta())
    assert await placing(world)() == 1
    assert (await world.runtime()).node is None


async def test_a_drain_is_intent_with_a_revision_an_etag_and_an_event(world: World) -> None:
    before = await world.revision()
    first = await drain(world)(N1, MINUTE)
    assert first.node.drain == Drain(NOON, NOON + MINUTE)
    assert await world.revision() == before + 1
    (event,) = await world.events("cluster.node.changed")
    assert (event.payload["cause"], event.payload["summary"]) == ("drain", "Connected; it is being drained")
    assert (await drain(world)(N1)).node == first.node
    assert await world.revision() == before + 1
    later = await drain(world)(N1, 2 * MINUTE)
    assert later.node.drain == Drain(NOON, NOON + 2 * MINUTE)
    with pytest.raises(EtagMismatch):
        await resume(world)(N1, first.node.etag)
    assert (await resume(world)(N1, later.node.etag)).node.drain is None
    assert (await world.events("cluster.node.changed"))[-1].payload["cause"] == "drain ended"


async def test_a_repeated_request_sets_no_new_deadline(world: World) -> None:
    first = await drain(world)(N1, MINUTE, request_id=ASKED)
    world.clock.advance(MINUTE / 2)
    assert (await drain(world)(N1, MINUTE, request_id=ASKED)).node == first.node
    with pytest.raises(RequestIdReused):
        await drain(world)(N1, 2 * MINUTE, request_id=ASKED)


@pytest.mark.parametrize("within", [timedelta(seconds=-1), timedelta(days=366)])
async def test_a_drain_ends_in_some_reasonable_time(world: World, within: timedelta) -> None:
    with pytest.raises(InvalidArgument):
        await drain(world)(N1, within)


async def test_only_a_node_that_is_there_is_drained(world: World) -> None:
    with pytest.raises(NotFound):
        await drain(world)(NodeId("nobody"))


async def test_a_drained_node_shows_what_has_not_left_it(world: World) -> None:
    await world.has(replace(await world.node("n2"), schedulable=False), a_runtime("gone", node="n2"))
    world.fleet.record(an_instance("chat"))
    world.fleet.record(an_instance("gone", state=InstanceState.STOPPING))
    await drain(world)(N1)
    await placing(world)()
    view = await GetNode(world.store, world.fleet)(N1)
    why = (await world.runtime()).stuck
    assert view.remainders == (
        Remainder(CHAT, InstanceState.READY, placed=True, problem=why),
        Remainder(RuntimeId("gone"), InstanceState.STOPPING, placed=False),
    )
    message = node_to_proto(view, NOON)
    assert [(item.runtime, item.placed, item.state_label) for item in message.remainders] == [
        ("runtimes/chat", True, "Ready"),
        ("runtimes/gone", False, "Stopping"),
    ]
    await resume(world)(N1)
    assert (await GetNode(world.store, world.fleet)(N1)).remainders == ()


async def test_what_is_shut_down_keeps_no_node_from_being_empty(world: World) -> None:
    await world.has(replace(await world.node("n2"), schedulable=False))
    await world.has(replace(await world.runtime(), desired_state=DesiredState.STOPPED))
    world.fleet.record(an_instance("chat", state=InstanceState.OFFLINE))
    await drain(world)(N1)
    assert (await GetNode(world.store, world.fleet)(N1)).remainders == ()


class Guards:
    def __init__(self) -> None:
        self.told: list[tuple[str, list[str]]] = []

    def let_through(self, node: NodeId, removals: Sequence[HeldRemoval]) -> bool:
        self.told.append((node, [removal.runtime for removal in removals]))
        return True


def releasing(world: World, guards: Guards) -> ReleaseDrained:
    allow = AllowRemovals(world.store, world.fleet, world.clock, guards)
    return ReleaseDrained(world.mirror, world.fleet, allow)


async def test_what_left_a_drained_node_passes_its_removal_guard_and_nothing_else_does(world: World) -> None:
    await world.has(a_runtime("more", node="n1"), a_runtime("pinned", node="n1", spec=a_spec(node_selector={"a": "b"})))
    await world.has(replace(await world.node("n1"), labels={"a": "b"}))
    await drain(world)(N1)
    await placing(world)()
    held = [HeldRemoval(RuntimeId(name), 7) for name in ("chat", "deleted", "more", "pinned")]
    world.fleet.trouble(N1, (), held)
    guards = Guards()
    release = releasing(world, guards)
    assert await release() == 2
    assert guards.told == [("n1", ["chat", "more"])]
    (event,) = await world.events("cluster.node.removals.allowed")
    assert event.payload["operator"] == "drain"
    assert await release() == 0
    assert len(guards.told) == 1


async def test_on_a_node_that_is_not_drained_the_guard_holds(world: World) -> None:
    await world.has(replace(await world.runtime(), node=N2))
    world.fleet.trouble(N1, (), [HeldRemoval(CHAT, 7)])
    await world.mirror.look()
    guards = Guards()
    assert await releasing(world, guards)() == 0
    assert guards.told == []


async def test_a_drained_node_that_is_away_is_told_once_it_is_back(world: World) -> None:
    await drain(world)(N1)
    await placing(world)()
    guards = Guards()
    release = releasing(world, guards)
    world.fleet.disconnect("n1")
    world.fleet.trouble(N1, (), [HeldRemoval(CHAT, 7)])
    assert await release() == 0
    world.fleet.contacts[N1] = replace(world.fleet.contacts[N1], online=True, session_epoch=2)
    assert await release() == 1


def test_what_placement_notes_of_nodes_and_runtimes_outlives_a_restart() -> None:
    node = a_node(drain=Drain(NOON, NOON + MINUTE), overcommit=True, given_up_epoch=3)
    spec = a_spec(placement=PlacementSettings(PlacementStrategy.BINPACK, MINUTE))
    runtime = a_runtime(spec=spec, departure=Departure(N2, NOON), stuck=Problem("NO_NODE", "It fits nowhere."))
    assert NODE.decode(NODE.encode(node)) == node
    assert RUNTIME.decode(RUNTIME.encode(runtime)) == runtime
