"""The board when a replica is silent, a session breaks, and PostgreSQL is killed."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from control_plane.domain.errors import StorageUnavailable
from control_plane.store import postgres_board
from control_plane.store.board_rows import BoardRows
from control_plane.store.postgres import PostgresStore
from tests.fakes.patience import SLACK
from tests.fakes.postgres import PostgresServer, postgres_server
from tests.fakes.postgres_boards import SOON, Member, leading, living, members, note, until_answered
from tests.fakes.postgres_stores import idle_in_transaction, opened


async def test_what_a_dead_replica_left_is_swept_and_it_hears_what_it_missed(
    mortal_trio: list[Member], foreign: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_board, "SWEEP_EVERY_S", 0.0)
    a, b, c = mortal_trio
    await a.beat({("kind", "x"): b"1", ("kind", "y"): b"1"})
    await b.beat(note("b"))
    assert await b.contents() == []
    end = time.monotonic() + (SOON.swept.total_seconds() + 1) * SLACK
    gone = foreign.execute("SELECT 1")
    while gone.fetchone():
        assert time.monotonic() < end
        await a.beat(note("x", None))
        await asyncio.sleep(0.05)
        gone = foreign.execute("SELECT 1 FROM arw_board1_replica WHERE id = %s", [b.me])
    assert foreign.execute("SELECT 1 FROM arw_board1_note WHERE replica = %s", [b.me]).fetchone() is None
    back = await b.beat()
    assert back.anew
    assert not back.first
    assert [(found.key, found.content) for found in back.notes] == [("y", b"1"), ("x", None)]
    assert not (await b.beat()).anew
    assert c.last
    assert living(await a.beat()) == [a.me, b.me]


async def test_a_beat_that_failed_in_the_middle_has_read_nothing_and_posted_nothing(
    trio: list[Member], foreign: psycopg.Connection[Any]
) -> None:
    a, b, c = trio
    await a.beat(note("x"), (b.me, b"errand"))
    with idle_in_transaction(foreign, "LOCK TABLE leader"), pytest.raises(StorageUnavailable):
        await b.beat(note("b"), (c.me, b"from b"))
    assert await c.contents() == [("x", b"content")]
    assert c.errands == []
    assert await b.contents() == [("x", b"content")]
    assert b.errands == [b"errand"]


@pytest.fixture(params=["COMMIT", "its answer"])
def cut_off(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Every session ends before its commit, or before it knows that it was committed; until it is undone."""
    committed = BoardRows.commit

    def commit(rows: BoardRows, *, with_news: bool) -> None:
        if request.param == "its answer":
            committed(rows, with_news=with_news)
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patched:
        patched.setattr(BoardRows, "commit", commit)
        yield patched


async def test_errands_come_once_although_nobody_knows_whether_they_were_posted_or_taken(
    stores: list[PostgresStore], cut_off: pytest.MonkeyPatch
) -> None:
    commit = BoardRows.commit
    cut_off.undo()
    a, b, _ = members(stores)
    await a.beat()
    await b.beat()
    one, two, three = ((b.me, word) for word in (b"one", b"two", b"three"))
    cut_off.setattr(BoardRows, "commit", commit)
    for errands in ([one], [one, two], [one, two]):
        with pytest.raises(StorageUnavailable):
            await a.beat({}, *errands)
        with pytest.raises(StorageUnavailable):
            await b.beat()
    cut_off.undo()
    await a.beat({}, one, two, three)
    await a.beat({}, one)
    await b.beat()
    await b.beat()
    assert b.errands == [b"one", b"two", b"three", b"one"]


async def test_a_server_that_became_read_only_refuses_the_beat_until_one_that_is_not(
    postgres: PostgresServer, trio: list[Member], foreign: psycopg.Connection[Any]
) -> None:
    foreign.execute("ALTER DATABASE shared SET default_transaction_read_only = on")
    foreign.commit()
    await asyncio.to_thread(postgres.cut, "arw board")
    with pytest.raises(StorageUnavailable, match="read-only"):
        await trio[0].beat()
    foreign.execute("SET TRANSACTION READ WRITE")
    foreign.execute("ALTER DATABASE shared RESET default_transaction_read_only")
    foreign.commit()
    assert (await trio[0].beat()).term == 1


async def test_a_crash_of_postgresql_empties_the_board_and_everybody_comes_back() -> None:
    with postgres_server() as server:
        url = server.new_database()
        async with opened(url) as first, opened(url) as second:
            a, b = members([first, second], SOON)
            await a.beat({("kind", "x"): b"1", ("kind", "y"): b"1"})
            await b.beat()
            await a.beat()
            await asyncio.to_thread(server.stop, signal.SIGQUIT)
            with pytest.raises(StorageUnavailable):
                await b.beat()
            await asyncio.to_thread(server.start)
            b.notes.clear()
            back = await until_answered(b)
            assert (back.anew, back.term, living(back), leading(back)) == (True, 0, [a.me, b.me], [a.me])
            back = await until_answered(a)
            assert (back.anew, back.term) == (True, 1)
            await a.beat(note("x", b"1"))
            end = time.monotonic() + (SOON.silent.total_seconds() + 1) * SLACK
            while time.monotonic() < end and ("y", None) not in await b.contents():
                await asyncio.gather(a.beat(), asyncio.sleep(0.05))
            assert [(found.key, found.content) for found in b.notes] == [("x", b"1"), ("y", None)]
