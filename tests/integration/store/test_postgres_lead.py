"""Who of several replicas leads, and what the others may not write."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import psycopg
import pytest

from control_plane.domain.errors import InUse, NotLeading
from control_plane.domain.ids import NodeId
from control_plane.store import board_tables, postgres_opening
from control_plane.store.board_rows import BoardRows
from control_plane.store.fenced import FencedStore
from control_plane.store.postgres import PostgresStore
from control_plane.use_cases.ports import Transaction
from tests.fakes.postgres import PostgresServer
from tests.fakes.postgres_boards import SOON, Member, leading, living, members, note, until_alone
from tests.fakes.postgres_stores import idle_in_transaction
from tests.fakes.processes import until
from tests.fakes.store_rows import a_node
from tests.fakes.stores import put_node

SESSIONS = "SELECT 1 FROM pg_stat_activity WHERE application_name = %s"


async def test_replicas_that_start_at_once_have_one_that_leads(stores: list[PostgresStore]) -> None:
    bulletins = await asyncio.gather(*(member.beat() for member in members(stores)))
    assert sorted(bulletin.term for bulletin in bulletins) == [0, 0, 1]


@pytest.mark.parametrize("statement", ["leader", "replicas", "take_errands"])
async def test_one_that_comes_and_leads_while_another_reads_is_not_overtaken(
    stores: list[PostgresStore], monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    a, b, _ = members(stores)
    loop, read = asyncio.get_running_loop(), getattr(BoardRows, statement)

    def read_and_let_come(rows: BoardRows) -> object:
        found = read(rows)
        if rows.me == b.me and a.last is None:
            asyncio.run_coroutine_threadsafe(a.beat(), loop).result(5)
        return found

    monkeypatch.setattr(BoardRows, statement, read_and_let_come)
    assert (await b.beat()).term == 0
    assert a.last
    assert (a.last.term, (await a.beat()).term, (await b.beat()).term) == (1, 1, 0)


async def test_when_the_session_of_the_one_that_leads_has_ended_another_leads_at_once(trio: list[Member]) -> None:
    a, b, c = trio
    await asyncio.to_thread(a.board.close)
    found = await b.beat()
    while not found.term:
        found = await b.beat()
    assert living(found) == [a.me, b.me, c.me], "it counts as alive for a while"
    assert leading(found) == [b.me]
    assert (await c.beat()).term == 0


async def test_one_that_was_alone_and_was_killed_leads_again_in_its_first_beat(
    stores: list[PostgresStore], postgres: PostgresServer
) -> None:
    first, again, _ = members(stores)
    assert (await first.beat()).term == 1
    await asyncio.to_thread(first.board.close)
    await asyncio.to_thread(no_session, postgres, "arw board")
    found = await again.beat()
    assert (found.term, found.first) == (2, True)


def no_session(postgres: PostgresServer, name: str) -> None:
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        until(lambda: not connection.execute(SESSIONS, [name]).fetchall())


async def test_when_the_one_that_leads_leaves_another_leads_at_once(trio: list[Member]) -> None:
    a, b, c = trio
    await a.board.leave()
    bulletins = [await b.beat(), await c.beat()]
    assert [bulletin.term for bulletin in bulletins] == [2, 0]
    assert {tuple(living(bulletin)) for bulletin in bulletins} == {(b.me, c.me)}
    assert leading(bulletins[1]) == [b.me]


async def test_one_whose_session_was_cut_stays_and_leads_on(trio: list[Member], postgres: PostgresServer) -> None:
    a, b, _ = trio
    await a.beat(note("x"))
    for _ in range(3):
        assert await asyncio.to_thread(postgres.cut, "arw board")
        assert (await a.beat()).term == 1
        assert (await b.beat()).term == 0
    assert not (await a.beat()).anew
    assert [found.key for found in b.notes] == ["x"]
    with psycopg.connect(postgres.url("shared")) as connection:
        assert len(connection.execute(board_tables.HOLDERS.encode()).fetchall()) == 2, (
            "a's and b's locks are held again"
        )


async def test_a_silent_replica_dies_later_than_one_whose_session_has_ended(
    mortal_trio: list[Member], postgres: PostgresServer
) -> None:
    a, _, _ = mortal_trio
    assert SOON.lost.total_seconds() < await until_alone(a)
    await mortal_trio[1].beat()
    await mortal_trio[2].beat()
    assert len((await a.beat()).replicas) == 3
    await asyncio.to_thread(postgres.cut, "arw board")
    assert await until_alone(a) < SOON.silent.total_seconds()


async def test_a_counter_that_somebody_holds_delays_the_lead_and_no_beat(
    trio: list[Member], foreign: psycopg.Connection[Any]
) -> None:
    a, b, _ = trio
    await a.board.leave()
    with idle_in_transaction(foreign, "SELECT * FROM meta FOR UPDATE"):
        assert (await b.beat(note("x"))).term == 0
    assert (await b.beat()).term == 2
    assert ("x", b"content") in await trio[2].contents()


async def test_a_fenced_change_is_stored_before_another_leads_or_not_at_all(mortal_trio: list[Member]) -> None:
    a, b, _ = mortal_trio
    has_begun, may_go_on = threading.Event(), threading.Event()
    fenced = FencedStore(a.store, lambda: 1)

    def change(tx: Transaction) -> None:
        tx.nodes.put(a_node("a"))
        has_begun.set()
        assert may_go_on.wait(10)

    writing = asyncio.ensure_future(fenced.write(change))
    assert await asyncio.to_thread(has_begun.wait, 10)
    await asyncio.to_thread(a.board.close)
    assert (await b.beat()).term == 0, "a's session has ended, and its change comes first"
    claiming = asyncio.ensure_future(b.beat())
    await asyncio.sleep(0.05)
    may_go_on.set()
    await writing
    await claiming
    assert (await b.beat()).term == 2
    assert await b.store.read(lambda tx: (tx.nodes.get(NodeId("a")), tx.term())) == (a_node("a"), 2)
    with pytest.raises(NotLeading):
        await fenced.write(put_node("b"))
    assert await b.store.read(lambda tx: tx.nodes.get(NodeId("b"))) is None


async def test_a_database_that_replicas_use_gets_no_new_history(trio: list[Member], postgres_url: str) -> None:
    before = await trio[0].store.read(lambda tx: tx.history_id())
    with pytest.raises(InUse, match="the machine of PostgreSQL") as refusal:
        await asyncio.to_thread(postgres_opening.renew, postgres_url)
    assert "SIGTERM" in refusal.value.remedy
    assert await trio[0].store.read(lambda tx: tx.history_id()) == before
    for member in trio:
        await member.board.leave()
        with pytest.raises(InUse):
            await asyncio.to_thread(postgres_opening.renew, postgres_url)
        await member.store.close()
    assert await asyncio.to_thread(postgres_opening.renew, postgres_url) != before


async def test_a_database_that_a_process_has_just_opened_gets_no_new_history(
    store: PostgresStore, postgres_url: str
) -> None:
    await store.write(put_node("a"))
    with pytest.raises(InUse):
        await asyncio.to_thread(postgres_opening.renew, postgres_url)
