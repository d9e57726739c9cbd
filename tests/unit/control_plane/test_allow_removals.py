from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import uuid4

import pytest

from control_plane.domain.errors import InvalidArgument, NodeOffline, NotFound, NothingHeld, RequestIdReused
from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.node import HeldRemoval
from control_plane.domain.problem import Problem
from control_plane.use_cases.allow_removals import AllowRemovals
from tests.fakes.control_plane import World, a_node

N1 = NodeId("n1")
A, B = HeldRemoval(RuntimeId("a"), 3), HeldRemoval(RuntimeId("b"), 4)
GUARD = Problem("REMOVAL_GUARD", "Holds back 2 removals: a, b.", "Allow them.")


@dataclass(slots=True)
class Told:
    """Nodes with a session, and what they were told."""

    connected: bool = True
    removals: list[tuple[HeldRemoval, ...]] = field(default_factory=list)

    def let_through(self, node: NodeId, removals: Sequence[HeldRemoval]) -> bool:
        if self.connected and node == N1:
            self.removals.append(tuple(removals))
        return self.connected


@pytest.fixture
async def world() -> World:
    """Node n1 holds back the removal of a and b."""
    world = World()
    await world.has(a_node())
    world.fleet.connect("n1")
    world.fleet.trouble(N1, [GUARD], [A, B])
    return world


def allow(world: World, guards: Told) -> AllowRemovals:
    return AllowRemovals(world.store, world.fleet, world.clock, guards)


async def test_what_is_held_as_named_is_let_through_and_journalled_with_who_allowed_it(world: World) -> None:
    guards = Told()
    done = await allow(world, guards)(N1, {A, B}, "local")
    assert done.removals == (A, B)
    assert guards.removals == [(A, B)]
    (event,) = await world.events()
    assert (event.kind, event.subject) == ("cluster.node.removals.allowed", "nodes/n1")
    assert event.payload == {"id": "n1", "operator": "local", "removals": ["a", "b"]}


async def test_only_what_was_named_is_let_through_and_only_as_it_was_seen(world: World) -> None:
    guards = Told()
    seen_earlier = HeldRemoval(RuntimeId("b"), 2)
    done = await allow(world, guards)(N1, {A, seen_earlier, HeldRemoval(RuntimeId("c"), 1)}, "local")
    assert done.removals == (A,)
    assert guards.removals == [(A,)]


@pytest.mark.parametrize("named", [{HeldRemoval(RuntimeId("a"), 9)}, {HeldRemoval(RuntimeId("c"), 3)}])
async def test_nothing_is_told_when_nothing_named_is_held(world: World, named: set[HeldRemoval]) -> None:
    guards = Told()
    with pytest.raises(NothingHeld) as raised:
        await allow(world, guards)(N1, named, "local")
    assert "arwctl nodes show n1" in raised.value.remedy
    assert (guards.removals, await world.topics()) == ([], [])


async def test_a_call_that_names_nothing_is_refused(world: World) -> None:
    with pytest.raises(InvalidArgument):
        await allow(world, Told())(N1, set(), "local")


async def test_a_node_that_is_not_there_or_not_connected_is_not_told(world: World) -> None:
    guards = Told()
    with pytest.raises(NotFound):
        await allow(world, guards)(NodeId("n2"), {A}, "local")
    world.fleet.disconnect("n1")
    world.fleet.trouble(N1, [GUARD], [A, B])
    with pytest.raises(NodeOffline):
        await allow(world, guards)(N1, {A}, "local")
    assert (guards.removals, await world.topics()) == ([], [])


async def test_a_repeated_request_is_told_again_and_journalled_once(world: World) -> None:
    guards, request = Told(connected=False), str(uuid4())
    with pytest.raises(NodeOffline):
        await allow(world, guards)(N1, {A}, "local", request)
    guards.connected = True
    world.fleet.trouble(N1, [], [])
    assert (await allow(world, guards)(N1, {A}, "local", request)).removals == (A,)
    assert guards.removals == [(A,)]
    assert await world.topics() == ["cluster.node.removals.allowed"]
    with pytest.raises(RequestIdReused):
        await allow(world, guards)(N1, {B}, "local", request)
