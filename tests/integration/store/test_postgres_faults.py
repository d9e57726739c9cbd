"""PostgreSQL held up, cut off, standing still, killed."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from control_plane.domain.errors import InvalidArgument, StorageUnavailable
from control_plane.domain.ids import NodeId
from control_plane.store.postgres import PostgresStore
from control_plane.store.postgres_link import Patience
from control_plane.store.transaction import SqlTransaction
from control_plane.use_cases.ports import Transaction
from tests.fakes.patience import SLACK
from tests.fakes.postgres import PostgresServer, postgres_server
from tests.fakes.postgres_stores import heard, idle_in_transaction, opened, until_served
from tests.fakes.store_rows import a_node
from tests.fakes.stores import put_node

A = NodeId("a")


async def test_f26_a_session_idle_in_transaction_costs_a_bounded_wait_and_is_named(
    hasty: PostgresStore, foreign: psycopg.Connection[Any]
) -> None:
    with idle_in_transaction(foreign, "SELECT * FROM meta FOR UPDATE"):
        began = time.monotonic()
        calls = [hasty.write(put_node(f"n{number}")) for number in range(50)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert time.monotonic() - began < 1 * SLACK
        assert {type(answer) for answer in answers} == {StorageUnavailable}
        assert all("idle in transaction" in str(answer) for answer in answers)
        assert await hasty.read(lambda tx: tx.nodes.all()) == []
    await hasty.write(put_node("a"))


async def test_f26_one_locked_table_does_not_cost_each_change_its_own_wait(
    hasty: PostgresStore, foreign: psycopg.Connection[Any]
) -> None:
    with idle_in_transaction(foreign, "LOCK TABLE nodes"):
        began = time.monotonic()
        answers = await asyncio.gather(*(hasty.write(put_node(f"n{n}")) for n in range(50)), return_exceptions=True)
        assert time.monotonic() - began < 2 * SLACK
        assert {type(answer) for answer in answers} == {StorageUnavailable}
    await hasty.write(put_node("a"))


async def test_f26_a_process_that_stands_still_in_a_transaction_loses_its_turn(
    hasty: PostgresStore, postgres_url: str
) -> None:
    has_begun, may_go_on = threading.Event(), threading.Event()

    def stand_still(tx: Transaction) -> None:
        tx.nodes.put(a_node("a"))
        has_begun.set()
        assert may_go_on.wait(10)
        tx.nodes.put(a_node("b"))

    async with opened(postgres_url) as patient:
        standing = asyncio.ensure_future(hasty.write(stand_still))
        assert await asyncio.to_thread(has_begun.wait, 10)
        await patient.write(put_node("c"))
        may_go_on.set()
        with pytest.raises(StorageUnavailable):
            await standing
        assert await patient.read(lambda tx: tx.nodes.all()) == [a_node("c")]
    await hasty.write(put_node("a"))


async def test_a_change_that_lost_a_deadlock_is_made_again(store: PostgresStore, postgres_url: str) -> None:
    await store.write(put_node("a"))
    runs: list[int] = []
    with psycopg.connect(postgres_url) as foreign:
        foreign.execute("UPDATE nodes SET session_epoch = 7")

        def change(tx: Transaction) -> None:
            runs.append(len(runs))
            if len(runs) == 1:
                crossing.start()
            tx.open_session(A)

        def cross() -> None:
            # After the other's wait began, so that the other is the one who finds the deadlock.
            time.sleep(0.5)
            foreign.execute("SELECT * FROM meta FOR UPDATE")
            foreign.commit()

        crossing = threading.Thread(target=cross)
        await store.write(change)
        await asyncio.to_thread(crossing.join)
    assert runs == [0, 1]
    stored = await store.read(lambda tx: tx.nodes.get(A))
    assert stored is not None
    assert stored.session_epoch == 8


async def test_a_server_that_became_read_only_refuses_writes_and_reads_go_on(
    postgres: PostgresServer, store: PostgresStore, foreign: psycopg.Connection[Any]
) -> None:
    await store.write(put_node("a"))
    foreign.execute("ALTER DATABASE shared SET default_transaction_read_only = on")
    foreign.commit()
    await asyncio.to_thread(postgres.cut, "arw writer")
    with pytest.raises(StorageUnavailable, match="read-only") as refusal:
        await store.write(put_node("b"))
    assert "target_session_attrs" in refusal.value.remedy
    assert await store.read(lambda tx: tx.nodes.all()) == [a_node("a")]
    foreign.execute("SET TRANSACTION READ WRITE")
    foreign.execute("ALTER DATABASE shared RESET default_transaction_read_only")
    foreign.commit()
    await store.write(put_node("b"))


async def test_tables_that_were_lost_are_named_and_end_no_writer(
    store: PostgresStore, foreign: psycopg.Connection[Any]
) -> None:
    foreign.execute("ALTER TABLE meta RENAME TO elsewhere")
    foreign.commit()
    for call in (store.write(put_node("a")), store.read(lambda tx: tx.revision())):
        with pytest.raises(StorageUnavailable, match="lost its tables"):
            await call
    foreign.execute("ALTER TABLE elsewhere RENAME TO meta")
    foreign.execute("CREATE TABLE kept AS SELECT * FROM meta")
    foreign.execute("DELETE FROM meta")
    foreign.commit()
    with pytest.raises(StorageUnavailable, match="meta is empty"):
        await store.write(put_node("a"))
    foreign.execute("INSERT INTO meta SELECT * FROM kept")
    foreign.commit()
    await store.write(put_node("a"))


async def test_a_statement_that_takes_too_long_is_refused(postgres_url: str) -> None:
    def slow(tx: Transaction) -> None:
        assert isinstance(tx, SqlTransaction)
        tx._session._cursor.execute("SELECT pg_sleep(5)")

    async with opened(postgres_url, Patience(statement=timedelta(milliseconds=200))) as store:
        for call in (store.write(slow), store.read(slow)):
            with pytest.raises(StorageUnavailable, match="in time"):
                await call
        await store.write(put_node("a"))


async def test_a_server_that_stands_still_is_given_up_and_found_again(
    postgres: PostgresServer, postgres_url: str
) -> None:
    patience = Patience(answer=timedelta(milliseconds=500))
    async with opened(postgres_url, patience) as store:
        await store.write(put_node("a"))
        assert await store.read(lambda tx: tx.nodes.all()) == [a_node("a")]
        with postgres.standing_still():
            began = time.monotonic()
            calls = [store.write(put_node("b")), *(store.read(lambda tx: tx.revision()) for _ in range(20))]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(answer) for answer in answers} == {StorageUnavailable}
            assert time.monotonic() - began < 10 * SLACK
        await until_served(store)
        assert a_node("a") in await store.read(lambda tx: tx.nodes.all())


async def test_a_text_that_postgresql_cannot_keep_is_refused_alone(store: PostgresStore) -> None:
    calls = [store.write(put_node(name)) for name in ("a", "b\x00", "c")]
    _, second, _ = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(second, InvalidArgument)
    assert await store.read(lambda tx: tx.nodes.all()) == [a_node("a"), a_node("c")]
    with pytest.raises(InvalidArgument):
        await store.read(lambda tx: tx.nodes.get(NodeId("\x00")))


async def test_connections_that_were_cut_are_made_anew_unnoticed(
    postgres: PostgresServer, store: PostgresStore
) -> None:
    await store.write(put_node("a"))
    assert await store.read(lambda tx: tx.nodes.all()) == [a_node("a")]
    for name in ("arw writer", "arw reader"):
        assert await asyncio.to_thread(postgres.cut, name)
    assert await store.read(lambda tx: tx.nodes.all()) == [a_node("a")]
    await store.write(put_node("b"))


async def test_f28_a_server_that_was_killed_costs_typed_refusals_and_nothing_acknowledged() -> None:
    kept: list[str] = []
    with postgres_server() as server:
        async with opened(server.new_database()) as store:

            async def write(writer: int) -> None:
                for number in range(400):
                    with suppress(StorageUnavailable):
                        await store.write(put_node(f"{writer}-{number}"))
                        kept.append(f"{writer}-{number}")

            async with asyncio.TaskGroup() as group:
                for writer in range(4):
                    group.create_task(write(writer))
                while len(kept) < 100:  # noqa: ASYNC110 - others' progress
                    await asyncio.sleep(0.001)
                await asyncio.to_thread(server.stop, signal.SIGQUIT)
            began = time.monotonic()
            with pytest.raises(StorageUnavailable, match="PostgreSQL cannot be used") as refusal:
                await store.read(lambda tx: tx.revision())
            assert time.monotonic() - began < 1 * SLACK
            assert "by itself" in refusal.value.remedy
            waiting = asyncio.ensure_future(heard(store, within=40))
            await asyncio.to_thread(server.start)
            await until_served(store)
            found = {node.id for node in await store.read(lambda tx: tx.nodes.all())}
            assert found >= set(kept)
            revisions = [change.revision for change in await store.read(lambda tx: tx.changes(0))]
            assert revisions == list(range(1, await store.read(lambda tx: tx.revision()) + 1))
            assert await waiting, "listeners look again once the server is back"
