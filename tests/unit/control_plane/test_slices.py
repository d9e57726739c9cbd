"""Long work on the loop lets others have their turn, and what they change meanwhile is not lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.node import Standing
from control_plane.domain.steps import Steps, finished
from control_plane.use_cases.place_runtimes import PlaceRuntimes
from control_plane.use_cases.slices import in_slices
from tests.fakes.control_plane import World, a_model, a_node, a_runtime

NO_TIME = timedelta()
"""Of a slice: others have their turn after every step."""
NODES, RUNTIMES = 4, 8

Change = Callable[[World], Awaitable[None]]


def counted(steps: int) -> Steps[int]:
    for _ in range(steps):
        yield
    return steps


@pytest.mark.parametrize("slice_", [NO_TIME, timedelta(hours=1)])
async def test_work_in_slices_comes_to_what_it_comes_to_at_one_go(slice_: timedelta) -> None:
    assert await in_slices(counted(0), slice_) == finished(counted(0))
    assert await in_slices(counted(9), slice_) == finished(counted(9))


async def turns_during(work: Awaitable[object]) -> int:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    await work
    turning.cancel()
    return turns


async def test_others_have_their_turn_after_each_slice() -> None:
    assert await turns_during(in_slices(counted(50), NO_TIME)) >= 50
    assert await turns_during(in_slices(counted(50), timedelta(hours=1))) <= 1


async def a_world() -> tuple[World, PlaceRuntimes]:
    world = World()
    nodes, runtimes = (a_node(f"n{i}") for i in range(NODES)), (a_runtime(f"r{i}") for i in range(RUNTIMES))
    await world.has(a_model(), *nodes, *runtimes)
    for number in range(NODES):
        world.fleet.connect(f"n{number}")
    return world, PlaceRuntimes(world.store, world.mirror, world.fleet, world.clock, slice_=NO_TIME)


async def test_while_everyone_is_judged_others_have_a_turn_for_each() -> None:
    world, place = await a_world()
    assert await turns_during(place()) > RUNTIMES
    assert await place() == 0
    assert {(await world.runtime(f"r{number}")).node for number in range(RUNTIMES)} == {"n0", "n1", "n2", "n3"}


def deleted(number: int) -> Change:
    async def change(world: World) -> None:
        await world.store.write(lambda tx: tx.runtimes.delete(RuntimeId(f"r{number}")))
        await world.mirror.look()

    return change


def revoked(number: int) -> Change:
    async def change(world: World) -> None:
        await world.has(replace(await world.node(f"n{number % NODES}"), standing=Standing.REVOKED))
        await world.mirror.look()

    return change


def silent(number: int) -> Change:
    async def change(world: World) -> None:
        world.fleet.disconnect(f"n{number % NODES}")

    return change


def added(number: int) -> Change:
    async def change(world: World) -> None:
        await world.has(a_runtime(f"new{number}"))
        await world.mirror.look()

    return change


CHANGES = st.builds(
    lambda kind, number: kind(number),
    st.sampled_from([deleted, revoked, silent, added]),
    st.integers(0, RUNTIMES - 1),
)


@given(st.lists(st.tuples(st.integers(0, 12), CHANGES), max_size=4))
def test_whatever_changes_between_slices_everything_finds_its_place(changes: Sequence[tuple[int, Change]]) -> None:
    asyncio.run(settles(changes))


async def settles(changes: Sequence[tuple[int, Change]]) -> None:
    world, place = await a_world()

    async def meddle() -> None:
        for pause, change in changes:
            for _ in range(pause):
                await asyncio.sleep(0)
            await change(world)

    await asyncio.gather(place(), meddle())
    await place()
    assert await PlaceRuntimes(world.store, world.mirror, world.fleet, world.clock)() == 0
    for runtime in world.mirror.runtimes.values():
        assert (runtime.node is None) == (runtime.placement_problem is not None)
        standing = world.mirror.nodes[runtime.node].standing if runtime.node else Standing.ADMITTED
        assert standing is Standing.ADMITTED


async def test_a_node_that_is_revoked_while_everyone_is_judged_gets_nothing() -> None:
    world, place = await a_world()
    await asyncio.gather(place(), revoked(0)(world))
    await place()
    assert not list(world.mirror.placed(NodeId("n0")))
