"""What a replica may rely on that is alone on its board, whichever board it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from control_plane.domain.errors import NotLeading
from control_plane.domain.ids import ReplicaId
from control_plane.domain.replica import Place
from control_plane.store.fenced import FencedStore
from control_plane.store.memory import MemoryStore
from control_plane.store.opening import OpenStore
from control_plane.store.postgres import PostgresStore
from control_plane.store.sqlite import SqliteStore
from control_plane.use_cases.board import Board
from tests.fakes.store_rows import StandingClock, a_node
from tests.fakes.stores import put_node

HERE, THERE = Place("here:1"), Place("there:2", version="2")


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenStore]:
    made: OpenStore
    match request.param:
        case "sqlite":
            made = await SqliteStore.open(tmp_path / "arw.db", StandingClock())
        case "postgresql":
            made = await PostgresStore.open(request.getfixturevalue("postgres_url"), StandingClock())
        case _:
            made = MemoryStore(StandingClock())
    yield made
    await made.close()


@pytest.fixture
def board(store: OpenStore) -> Board:
    return store.board()


async def test_who_is_alone_leads_from_its_first_beat_on(board: Board) -> None:
    first, second = await board.beat({}, (), HERE), await board.beat({}, (), HERE)
    assert first.term == second.term > 0
    (alone,) = first.replicas
    assert (alone.id, alone.place, alone.leads) == (first.me, HERE, True)
    assert first.replicas == second.replicas
    assert (first.anew, first.first) == (True, True)
    assert not second.anew


async def test_a_place_may_change_and_the_time_of_the_start_does_not(board: Board) -> None:
    before, after = await board.beat({}, (), HERE), await board.beat({}, (), THERE)
    assert [one.place for one in after.replicas] == [THERE]
    assert after.replicas[0].start_time == before.replicas[0].start_time
    assert after.replicas[0].start_time.tzinfo is not None


async def test_own_notes_do_not_come_back(board: Board) -> None:
    await board.beat({("kind", "key"): b"content", ("kind", "gone"): None}, (), HERE)
    assert (await board.beat({}, (), HERE)).notes == ()


async def test_an_errand_comes_once_and_one_for_nobody_never(board: Board) -> None:
    me = (await board.beat({}, (), HERE)).me
    posted = [(me, b"one"), (ReplicaId("nobody"), b"lost"), (me, b"two")]
    found = [*(await board.beat({}, posted, HERE)).errands, *(await board.beat({}, (), HERE)).errands]
    assert found == [b"one", b"two"]


async def test_listening_for_news_can_be_stopped(board: Board) -> None:
    heard: list[str] = []
    stop = board.on_news(lambda: heard.append("news"))
    await board.beat({("kind", "key"): b""}, (), HERE)
    stop()
    await board.leave()


async def test_the_one_that_leads_writes_through_the_fence_and_cuts_history(store: OpenStore, board: Board) -> None:
    term = (await board.beat({}, (), HERE)).term
    assert await store.read(lambda tx: tx.term()) == term
    fenced = FencedStore(store, lambda: term)
    heard: list[int] = []
    stop = fenced.on_change(heard.append)
    await fenced.write(put_node("a"))
    stop()
    assert heard == [1]
    assert await fenced.read(lambda tx: tx.nodes.all()) == [a_node("a")]
    assert await fenced.compact(0) == 1
    assert await fenced.prune(StandingClock().now()) == 0


@pytest.mark.parametrize("held", [lambda term: 0, lambda term: term - 1, lambda term: term + 1])
async def test_who_does_not_lead_writes_nothing_through_the_fence(
    store: OpenStore, board: Board, held: Callable[[int], int]
) -> None:
    term = (await board.beat({}, (), HERE)).term
    fenced = FencedStore(store, lambda: held(term))
    for call in (fenced.write(put_node("a")), fenced.compact(0), fenced.prune(StandingClock().now())):
        with pytest.raises(NotLeading):
            await call
    assert await store.read(lambda tx: tx.nodes.all()) == []
