"""What several replicas on one board tell each other."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from control_plane.domain.errors import InvalidArgument
from control_plane.store import board_tables
from tests.fakes.postgres_boards import Member, leading, living, members, note
from tests.fakes.postgres_stores import opened


async def test_all_know_all_and_one_leads(trio: list[Member]) -> None:
    bulletins = [await member.beat() for member in trio]
    assert {tuple(living(bulletin)) for bulletin in bulletins} == {tuple(member.me for member in trio)}
    assert {tuple(leading(bulletin)) for bulletin in bulletins} == {(trio[0].me,)}
    assert [bulletin.term for bulletin in bulletins] == [1, 0, 0]
    assert [bulletin.first for bulletin in bulletins] == [True, False, False]
    assert [one.place.grpc_address for one in bulletins[0].replicas] == [str(member.me) for member in trio]


async def test_notes_come_once_in_order_and_only_to_others(trio: list[Member]) -> None:
    a, b, c = trio
    await a.beat({("kind", "x"): b"1", ("kind", "y"): b"1", ("other", "x"): b""})
    assert await b.contents() == [("x", b"1"), ("y", b"1")]
    await a.beat(note("x", b"2"))
    await a.beat(note("y", None))
    assert await b.contents() == [("x", b"2"), ("y", None)]
    assert await b.contents() == []
    assert await a.contents() == []
    await a.beat(note("x", b"3"))
    assert await b.contents() == [("x", b"3")]
    assert await c.contents() == [("x", b"3")]
    assert {found.replica for found in c.notes} == {a.me}


async def test_a_newcomer_gets_what_stands_and_nothing_that_is_gone(trio: list[Member], postgres_url: str) -> None:
    await trio[0].beat({("kind", "x"): b"1", ("kind", "y"): b"1"})
    await trio[0].beat(note("y", None))
    async with opened(postgres_url) as late:
        (member,) = members([late])
        assert await member.contents() == [("x", b"1")]
        assert await member.contents() == []
        await trio[0].beat(note("x", None))
        assert await member.contents() == [("x", None)]


async def test_more_notes_than_one_transaction_takes_all_arrive(trio: list[Member]) -> None:
    count = 2 * board_tables.NOTES_AT_ONCE + 1
    await trio[0].beat({("kind", str(number)): b"%d" % number for number in range(count)})
    found = await trio[1].contents()
    assert dict(found) == {str(number): b"%d" % number for number in range(count)}
    assert len(found) == count


async def test_a_note_that_postgresql_cannot_keep_is_refused(trio: list[Member]) -> None:
    with pytest.raises(InvalidArgument):
        await trio[0].beat(note("\x00"))
    assert (await trio[0].beat()).term == 1


async def test_errands_reach_their_addressee_once_in_order(trio: list[Member]) -> None:
    a, b, c = trio
    await a.beat({}, (b.me, b"one"), (c.me, b"other"), (b.me, b"two"))
    await c.beat({}, (b.me, b"three"))
    await b.beat()
    await b.beat()
    assert b.errands == [b"one", b"two", b"three"]
    assert c.errands == [b"other"]
    assert a.errands == []


async def test_a_replica_that_does_not_read_gets_so_many_errands_and_no_more(
    trio: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, c = trio
    many = board_tables.MAX_WAITING
    await a.beat({}, *((b.me, b"%d" % number) for number in range(many - 1)))
    await a.beat({}, (b.me, b"last"), (c.me, b"other"), (b.me, b"lost"))
    await b.beat()
    assert len(b.errands) == many
    assert b.errands[-1] == b"last"
    await c.beat()
    assert c.errands == [b"other"]


async def test_an_errand_for_one_that_left_is_nothing(trio: list[Member], foreign: psycopg.Connection[Any]) -> None:
    a, b, _ = trio
    await b.board.leave()
    await a.beat({}, (b.me, b"late"))
    for name in ("replica", "note", "errand"):
        column = "id" if name == "replica" else "replica"
        query = f"SELECT count(*) FROM arw_board1_{name} WHERE {column} = %s"  # noqa: S608 - names from above
        assert foreign.execute(query.encode(), [b.me]).fetchone() == (0,)


async def test_whoever_has_news_wakes_the_others_and_not_itself(trio: list[Member]) -> None:
    a, b, c = trio
    heard: list[str] = []
    woken = asyncio.Event()
    a.board.on_news(lambda: heard.append("a"))
    b.board.on_news(woken.set)
    while not woken.is_set():
        # Until its ear listens.
        await a.beat(note("x"))
        await asyncio.sleep(0.05)
    for member, change in ((a, note("x")), (a, {}), (c, {})):
        woken.clear()
        await member.beat(change, (b.me, b"errand"))
        await asyncio.wait_for(woken.wait(), 5)
    while not heard:  # noqa: ASYNC110 - others' progress
        # What c posted comes to a as well.
        await asyncio.sleep(0.01)
    heard.clear()
    woken.clear()
    await a.beat(note("y"))
    await asyncio.wait_for(woken.wait(), 5)
    assert heard == []
    woken.clear()
    await c.board.leave()
    await asyncio.wait_for(woken.wait(), 5)
    woken.clear()
    await a.beat()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(woken.wait(), 0.2)
