"""PostgreSQL that comes back without its last commits, beneath processes that know them."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, suppress
from pathlib import Path

import pytest

from control_plane.domain.errors import NotLeading, StorageUnavailable
from control_plane.domain.event import Event
from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.store.fenced import FencedStore
from control_plane.store.known_history import KnownHistory, Mark, Notebook
from control_plane.store.listeners import Position
from control_plane.store.postgres import PostgresStore
from control_plane.use_cases.jobs.book import JobBook
from control_plane.use_cases.lost_history import HISTORY_CHANGED, JUMP
from control_plane.use_cases.mirror import Mirror
from control_plane.use_cases.ports import Store, Transaction
from control_plane.use_cases.watch_events import WatchEvents
from tests.fakes.patience import SLACK
from tests.fakes.postgres import PostgresServer, postgres_server
from tests.fakes.postgres_boards import acquainted, note, until_answered
from tests.fakes.postgres_stores import opened, until_served
from tests.fakes.store_rows import a_runtime
from tests.fakes.stores import append, put_node, revise

A = NodeId("a")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as made:
        yield made


@pytest.fixture
async def stores(server: PostgresServer) -> AsyncIterator[list[PostgresStore]]:
    """Three processes' stores of one database."""
    url = server.new_database()
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(opened(url)) for _ in range(3)]


async def lose(server: PostgresServer, store: Store) -> tuple[str, int, int]:
    """Acknowledged changes. What the history was, and how far."""
    await store.write(put_node("a"))
    await store.write(lambda tx: tx.open_session(A))
    await asyncio.to_thread(server.put_aside)
    await until_served(store)
    for name in ("b", "c"):
        await store.write(put_node(name))
        await store.write(append("node.online"))
    await store.write(lambda tx: tx.open_session(A))
    known = await store.read(where)
    await asyncio.to_thread(server.put_back)
    return known


def where(tx: Transaction) -> tuple[str, int, int]:
    return tx.history_id(), tx.revision(), tx.journal.last_id()


async def changes_of_history(store: Store) -> list[Event]:
    return list(await store.read(lambda tx: tx.journal.newest((HISTORY_CHANGED,), 10)))


async def until_another(store: Store, history: str) -> tuple[str, int, int]:
    end = time.monotonic() + 15 * SLACK
    while True:
        with suppress(StorageUnavailable):
            found = await store.read(where)
            if found[0] != history:
                return found
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


async def test_f29_a_writer_that_knows_more_than_the_database_begins_a_new_history(
    server: PostgresServer, stores: list[PostgresStore]
) -> None:
    store, *_ = stores
    history, revision, last_event = await lose(server, store)
    await until_served(store)
    await store.write(put_node("d"))
    found = await store.read(where)
    assert found[0] != history
    assert found[1] > JUMP > revision
    assert found[2] > JUMP > last_event
    assert [node.id for node in await store.read(lambda tx: tx.nodes.all())] == ["a", "d"]
    assert await store.write(lambda tx: tx.open_session(A)) == 1 + JUMP + 1
    (told,) = await changes_of_history(store)
    assert told.payload["history"] == found[0]
    assert told.payload["known_revision"] == revision
    assert told.payload["revision"] < revision
    assert f"accept-history {found[0]}" in told.payload["remedy"]


async def test_f29_no_number_is_answered_twice_however_many_write_meanwhile(
    server: PostgresServer, stores: list[PostgresStore]
) -> None:
    answered: list[int] = []
    over = asyncio.Event()

    async def write(store: Store) -> None:
        while not over.is_set():
            with suppress(StorageUnavailable):
                answered.append(await store.write(revise("nodes", "x")))
            await asyncio.sleep(0.001)

    writing = [asyncio.ensure_future(write(store)) for store in stores for _ in range(2)]
    history, *_ = await lose(server, stores[0])
    await until_another(stores[0], history)
    await until_served(stores[0])
    over.set()
    await asyncio.gather(*writing)
    assert len(set(answered)) == len(answered)
    assert min(answered) < JUMP < max(answered)


async def test_f29_it_is_noticed_while_nobody_writes_and_begins_once_however_many_notice(
    server: PostgresServer, stores: list[PostgresStore]
) -> None:
    history, *_ = await lose(server, stores[0])
    found = [await until_another(store, history) for store in stores]
    await asyncio.gather(*(until_served(store) for store in stores * 3))
    await asyncio.gather(*(store.write(append("node.online")) for store in stores * 3))
    assert {one[0] for one in found} == {(await stores[0].read(where))[0]}
    assert len(await changes_of_history(stores[0])) == 1


async def test_f29_whoever_led_writes_nothing_before_it_leads_anew(
    server: PostgresServer, stores: list[PostgresStore]
) -> None:
    a, b, c = await acquainted(stores)
    await a.beat(note("x"))
    term = a.last.term if a.last else 0
    fenced = FencedStore(a.store, lambda: term)
    history, *_ = await lose(server, a.store)
    await until_another(a.store, history)
    with pytest.raises(NotLeading):
        await fenced.write(put_node("d"))
    terms = [(await until_answered(member)).term for member in (a, b, c)]
    assert len([held for held in terms if held]) == 1
    assert max(terms) > JUMP
    await a.beat(note("y"))
    await b.beat()
    assert b.notes[-1].key == "y"


async def test_f29_those_who_follow_neither_stand_still_nor_skip(
    server: PostgresServer, stores: list[PostgresStore]
) -> None:
    store, *_ = stores
    mirror, jobs, heard = Mirror(store), JobBook(store), list[Event]()
    await store.write(lambda tx: tx.runtimes.put(a_runtime("kept")))
    await store.write(append("node.online"))
    listening = asyncio.ensure_future(listened(store, heard, [HISTORY_CHANGED, "node.offline"]))
    history, revision, last_event = await lose(server, store)
    await until_another(store, history)
    await mirror.look()
    await store.write(append("node.offline"))
    await store.write(lambda tx: tx.runtimes.put(a_runtime("new")))
    await mirror.look()
    await jobs.look()
    assert sorted(mirror.nodes) == ["a"]
    assert sorted(mirror.runtimes) == ["kept", "new"]
    await asyncio.wait_for(listening, 5)
    assert all(event.id > last_event for event in heard[-2:])
    assert len({event.key for event in heard}) == len(heard)
    assert revision < await store.read(lambda tx: tx.compacted_revision())
    assert mirror.runtimes[RuntimeId("kept")] == a_runtime("kept")


async def listened(store: Store, heard: list[Event], last: list[str]) -> None:
    """Until these were heard one after another; again from where it was, as a client does, when reading fails."""
    while True:
        with suppress(StorageUnavailable):
            async with aclosing(WatchEvents(store)(after_id=heard[-1].id if heard else 0)) as events:
                async for event in events:
                    heard.append(event)
                    if [each.kind for each in heard[-len(last) :]] == last:
                        return
        await asyncio.sleep(0.05)


async def test_f29_a_process_that_was_started_again_knows_by_its_note_what_the_database_lacks(
    server: PostgresServer, tmp_path: Path
) -> None:
    url, file = server.new_database(), tmp_path / "history.json"
    async with opened(url, note=file) as store:
        store.board()
        await store.write(put_node("a"))
        await asyncio.to_thread(server.put_aside)
        await until_served(store)
        await store.write(put_node("b"))
        history, revision, last_event = await store.read(where)
    assert Notebook(file).read() == Mark(history, Position(revision, last_event))
    await asyncio.to_thread(server.put_back)
    async with opened(url, note=file) as store:
        found = await store.read(where)
        assert found[0] != history
        assert found[1] > JUMP
        assert [event.payload["known_revision"] for event in await changes_of_history(store)] == [revision]
    async with opened(url, note=file) as store:
        assert await store.read(where) == found
    assert Notebook(file).read() == Mark(history, Position(revision, last_event)), "only replicas write it"


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '["history", "a", 1]'])
def test_a_note_that_cannot_be_read_says_nothing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "history.json"
    file.write_text(text)
    assert Notebook(file).read() is None


def test_a_note_is_written_once_a_second_and_at_the_end(tmp_path: Path) -> None:
    notebook = Notebook(tmp_path / "history.json")
    assert notebook.read() is None
    first, second = (Mark(H, Position(number, 0)) for number in (1, 2))
    notebook.write(first)
    notebook.write(second)
    assert notebook.read() == first
    notebook.write(second, at_once=True)
    assert notebook.read() == second
    Notebook(tmp_path / "missing" / "history.json").write(first)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
async def test_a_database_that_lost_nothing_goes_on_with_its_history(
    server: PostgresServer, stores: list[PostgresStore], number: signal.Signals
) -> None:
    for store in stores:
        await store.write(put_node("a"))
    before = await stores[0].read(where)
    await asyncio.to_thread(server.stop, number)
    await asyncio.to_thread(server.start)
    await asyncio.gather(*(until_served(store) for store in stores))
    assert await stores[0].read(where) == before


H, OTHER = "history", "other"


@pytest.mark.parametrize(
    ("found", "is_ahead"),
    [
        (Mark(H, Position(5, 7)), False),
        (Mark(H, Position(6, 7)), False),
        (Mark(H, Position(4, 7)), True),
        (Mark(H, Position(6, 6)), True),
        (Mark(OTHER, Position(1, 1)), False),
    ],
)
def test_only_less_of_the_same_history_is_a_loss(found: Mark, is_ahead: bool) -> None:
    assert Mark(H, Position(5, 7)).is_ahead_of(found) is is_ahead


def test_what_was_read_before_a_commit_and_comes_after_it_is_no_loss() -> None:
    known = KnownHistory(Mark(H, Position(5, 7)))
    before = known.mark
    known.committed(Mark(H, Position(6, 8)))
    assert known.seen(before, Mark(H, Position(5, 7)))
    assert known.mark.position == Position(6, 8)


def test_another_history_counts_only_when_a_writer_has_seen_it() -> None:
    known = KnownHistory(Mark(H, Position(5, 7)))
    assert not known.seen(known.mark, Mark(OTHER, Position(9, 9)))
    assert known.mark.history_id == H
    known.committed(Mark(OTHER, Position(1, 1)))
    assert known.mark == Mark(OTHER, Position(1, 1))
    assert known.seen(known.mark, Mark(OTHER, Position(2, 1)))
    assert known.mark.position == Position(2, 1)
