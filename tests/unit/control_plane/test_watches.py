from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TypeVar, cast

import pytest

from control_plane.domain.errors import NotFound
from control_plane.domain.event import Event
from control_plane.domain.ids import RuntimeId
from control_plane.domain.instance import InstanceState
from control_plane.use_cases.delete_runtime import DeleteRuntime
from control_plane.use_cases.read_events import ListEvents
from control_plane.use_cases.shutdown_runtime import ShutdownRuntime
from control_plane.use_cases.watch_events import CHUNK, WatchEvents
from control_plane.use_cases.watch_runtimes import RuntimeChange, WatchRuntimes
from tests.fakes.control_plane import World, a_model, a_runtime, an_instance

T = TypeVar("T")


@pytest.fixture
async def world() -> World:
    world = World()
    await world.has(a_model(), a_runtime("a", "n1"), a_runtime("b", "n1"))
    world.fleet.connect("n1")
    return world


def closing(watch: AsyncIterator[T]) -> aclosing[AsyncGenerator[T]]:
    return aclosing(cast("AsyncGenerator[T]", watch))


async def taken(watch: AsyncIterator[T], count: int) -> list[T]:
    async with asyncio.timeout(5):
        return [await anext(watch) for _ in range(count)]


async def nothing_more(watch: AsyncIterator[T]) -> bool:
    """Whether the watch still waits after everything that was under way has settled."""
    waiting = asyncio.ensure_future(anext(watch))
    for _ in range(20):
        await asyncio.sleep(0)
    quiet = not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    return quiet


async def append(world: World, *kinds: str) -> None:
    def change(tx: object) -> None:
        for kind in kinds:
            tx.journal.append(Event(kind, "x"))  # type: ignore[attr-defined]

    await world.store.write(change)


async def test_a_watch_begins_with_everything_and_a_mark(world: World) -> None:
    async with closing(WatchRuntimes(world.store, world.mirror, world.fleet)()) as watch:
        first, second, mark = await taken(watch, 3)
        assert [first.runtime, second.runtime] == ["a", "b"]
        assert mark == RuntimeChange(synced=True)


async def test_a_watch_tells_changes_of_intent_and_of_fact_once(world: World) -> None:
    async with closing(WatchRuntimes(world.store, world.mirror, world.fleet)()) as watch:
        await taken(watch, 3)
        await ShutdownRuntime(world.store, world.fleet, world.clock)(RuntimeId("b"))
        (stopped,) = await taken(watch, 1)
        assert stopped.view
        assert stopped.view.runtime.desired_state == "stopped"
        world.fleet.record(an_instance("a", state=InstanceState.STARTING))
        (started,) = await taken(watch, 1)
        assert started.view
        assert started.view.state is InstanceState.STARTING
        world.fleet.record(an_instance("a", state=InstanceState.STARTING))
        assert await nothing_more(watch)


async def test_a_watch_tells_what_was_deleted(world: World) -> None:
    async with closing(WatchRuntimes(world.store, world.mirror, world.fleet)()) as watch:
        await taken(watch, 3)
        await DeleteRuntime(world.store, world.clock)(RuntimeId("a"))
        assert await taken(watch, 1) == [RuntimeChange(RuntimeId("a"), deleted=True)]


async def test_a_watch_of_one_runtime_hears_of_no_other(world: World) -> None:
    async with closing(WatchRuntimes(world.store, world.mirror, world.fleet)(RuntimeId("a"))) as watch:
        first, mark = await taken(watch, 2)
        assert (first.runtime, mark.synced) == ("a", True)
        world.fleet.record(an_instance("b"))
        await ShutdownRuntime(world.store, world.fleet, world.clock)(RuntimeId("b"))
        assert await nothing_more(watch)


async def test_a_watch_that_fell_behind_compaction_starts_over(world: World) -> None:
    async with closing(WatchRuntimes(world.store, world.mirror, world.fleet)()) as watch:
        await taken(watch, 3)
        await world.has(a_runtime("c"), a_model("other"))
        await DeleteRuntime(world.store, world.clock)(RuntimeId("a"))
        await world.store.compact(0)  # type: ignore[attr-defined]
        changes = await taken(watch, 2)
        assert [(change.runtime, change.deleted) for change in changes] == [("a", True), ("c", False)]


async def test_a_watch_of_what_does_not_exist_is_refused(world: World) -> None:
    with pytest.raises(NotFound):
        await anext(WatchRuntimes(world.store, world.mirror, world.fleet)(RuntimeId("nobody")))


async def test_a_closed_watch_listens_no_longer(world: World) -> None:
    async with closing(WatchRuntimes(world.store, world.mirror, world.fleet)()) as watch:
        await taken(watch, 3)
        assert world.fleet.listeners
    assert not world.fleet.listeners


async def test_events_are_listed_newest_last_and_by_prefix(world: World) -> None:
    await append(world, "runtime.health", "models.changed", "runtime.state.changed")
    listing = ListEvents(world.store)
    assert [event.kind for event in await listing(["runtime."])] == ["runtime.health", "runtime.state.changed"]
    assert [event.kind for event in await listing([], 1)] == ["runtime.state.changed"]
    (first, *_) = await listing()
    assert [event.kind for event in await listing([], 1, first.id)] == ["models.changed"]


async def test_a_watch_of_events_replays_then_follows(world: World) -> None:
    await append(world, "a.one", "a.two", "b.one")
    async with closing(WatchEvents(world.store)(["a."], replay=1)) as watch:
        assert [event.kind for event in await taken(watch, 1)] == ["a.two"]
        await append(world, "b.two", "a.three")
        assert [event.kind for event in await taken(watch, 1)] == ["a.three"]
        assert await nothing_more(watch)


async def test_a_watch_without_replay_hears_only_of_new_events(world: World) -> None:
    await append(world, "a.one")
    async with closing(WatchEvents(world.store)()) as watch:
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        await append(world, "a.two")
        assert (await waiting).kind == "a.two"


async def test_a_watch_resumes_after_an_id_through_any_backlog(world: World) -> None:
    await append(world, *["a.x"] * (2 * CHUNK + 1))
    (first,) = await world.store.read(lambda tx: tx.journal.after(0, [], 1))
    async with closing(WatchEvents(world.store)(after_id=first.id)) as watch:
        events = await taken(watch, 2 * CHUNK)
        ids = [event.id for event in events]
        assert ids == sorted(set(ids))
        assert ids[0] > first.id
