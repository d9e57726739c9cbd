from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

import pytest

from control_plane.domain.errors import StorageUnavailable
from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.node import Standing
from control_plane.domain.runtime import DesiredState
from control_plane.use_cases.mirror import Mirror
from control_plane.use_cases.place_runtimes import PlaceRuntimes
from control_plane.use_cases.ports import Transaction
from control_plane.use_cases.restore_runtime import RestoreRuntime
from tests.fakes.control_plane import World, a_model, a_node, a_runtime, a_spec

T = TypeVar("T")

CHAT = RuntimeId("chat")
N1 = NodeId("n1")


@pytest.fixture
async def world() -> World:
    world = World()
    await world.has(a_model(), a_node("n1"), a_node("n2"), a_runtime(node="n1", desired_state=DesiredState.STOPPED))
    world.fleet.connect("n1")
    world.fleet.connect("n2")
    return world


def restore(world: World) -> RestoreRuntime:
    return RestoreRuntime(world.store, world.fleet, world.clock)


async def test_placing_writes_place_and_desired_state_as_one_change(world: World) -> None:
    await world.has(a_runtime("new"))
    place = PlaceRuntimes(world.store, world.mirror, world.fleet, world.clock)
    before = await world.revision()
    assert await place() == 1
    placed = await world.runtime("new")
    assert placed.node == "n2"
    assert (placed.revision, placed.fence) == (before + 1, 1)
    assert await world.desired("n2") == ["nodes/n2/instances/new"]
    assert await place() == 0
    assert await world.revision() == before + 1


async def test_a_new_place_leaves_the_etag_alone(world: World) -> None:
    view = await restore(world)(CHAT)
    await world.has(replace(await world.node("n1"), standing=Standing.REVOKED))
    assert await PlaceRuntimes(world.store, world.mirror, world.fleet, world.clock)() == 1
    assert (await world.runtime()).etag == view.runtime.etag


async def test_a_move_buries_and_puts_in_one_change_with_a_higher_fence(world: World) -> None:
    await restore(world)(CHAT)
    before = await world.revision()
    await world.has(replace(await world.node("n1"), standing=Standing.REVOKED))
    await PlaceRuntimes(world.store, world.mirror, world.fleet, world.clock)()
    moved = await world.runtime()
    assert (moved.node, moved.fence) == ("n2", 2)
    old = await world.store.read(lambda tx: tx.desired.since(N1, before))
    new = await world.store.read(lambda tx: tx.desired.since(NodeId("n2"), before))
    assert [row.content for row in old] == [None]
    assert [row.content and row.content.runtime.fence for row in new] == [2]
    assert old[0].revision == new[0].revision == moved.revision
    (event,) = await world.events("runtime.placed")
    assert (event.payload["previous_node"], event.payload["node"]) == ("n1", "n2")


async def test_a_silent_node_keeps_its_runtimes(world: World) -> None:
    world.fleet.disconnect("n1")
    world.clock.advance(timedelta(days=1))
    assert await PlaceRuntimes(world.store, world.mirror, world.fleet, world.clock)() == 0


async def test_a_runtime_without_a_place_says_why_once(world: World) -> None:
    await world.has(a_runtime("far", spec=a_spec(node_selector={"site": "mars"})))
    place = PlaceRuntimes(world.store, world.mirror, world.fleet, world.clock)
    assert await place() == 1
    problem = (await world.runtime("far")).placement_problem
    assert problem
    assert problem.reason == "LABELS_UNMATCHED"
    assert await place() == 0
    await world.has(replace(await world.node("n2"), labels={"site": "mars"}))
    assert await place() == 1
    found = await world.runtime("far")
    assert (found.node, found.placement_problem) == ("n2", None)


async def test_a_runtime_that_lost_its_place_returns_with_a_higher_fence(world: World) -> None:
    place = PlaceRuntimes(world.store, world.mirror, world.fleet, world.clock)
    nodes = [await world.node("n1"), await world.node("n2")]
    await world.has(*(replace(node, standing=Standing.REVOKED) for node in nodes))
    await place()
    assert (await world.runtime()).node is None
    assert await world.desired() == []
    await world.has(*nodes)
    await place()
    back = await world.runtime()
    assert (back.node, back.fence) == ("n1", 2)


async def test_what_changed_while_placing_is_left_to_the_next_call(world: World) -> None:
    await world.has(a_runtime("new"))
    meddling = Meddling(world)
    place = PlaceRuntimes(meddling, Mirror(meddling), world.fleet, world.clock)
    assert await place() == 0
    assert (await world.runtime("new")).node is None


async def test_a_place_that_could_not_be_written_is_found_again(world: World) -> None:
    await world.has(a_runtime("new"))
    full = Full(world)
    place = PlaceRuntimes(full, world.mirror, world.fleet, world.clock)
    with pytest.raises(StorageUnavailable):
        await place()
    full.has_room = True
    assert await place() == 1


class Full:
    """A store whose disk has no room yet."""

    def __init__(self, world: World) -> None:
        self.read = world.store.read
        self.on_change = world.store.on_change
        self.is_newest = world.store.is_newest
        self.has_room = False
        self._write = world.store.write

    async def write(self, change: Callable[[Transaction], T]) -> T:
        if not self.has_room:
            raise StorageUnavailable("The disk is full.", "Free some space.")
        return await self._write(change)


class Meddling:
    """A store in which a runtime changes between each read and the write that follows."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.write = world.store.write
        self.on_change = world.store.on_change
        self.is_newest = world.store.is_newest

    async def read(self, query: Callable[[Transaction], T]) -> T:
        answer = await self._world.store.read(query)
        await self._world.store.write(lambda tx: tx.revise("models", "other"))
        await self._world.has(replace(await self._world.runtime("new"), revision=await self._world.revision()))
        return answer
