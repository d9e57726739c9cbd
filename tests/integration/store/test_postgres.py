"""What only PostgreSQL has: a schema that several processes make, and their commits in one order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from control_plane.domain.errors import StorageUnavailable
from control_plane.domain.ids import NodeId
from control_plane.store import schema
from control_plane.store.opening import open_store
from control_plane.store.postgres import PostgresStore
from control_plane.store.tables import metadata
from tests.fakes.postgres import PostgresServer
from tests.fakes.postgres_stores import Follower, heard, opened, slowly
from tests.fakes.store_rows import StandingClock, a_node
from tests.fakes.store_rows_of_old import fill
from tests.fakes.stores import append, put_node, revise

A = NodeId("a")


async def test_processes_that_start_at_once_share_one_history(postgres_url: str) -> None:
    stores = await asyncio.gather(*(PostgresStore.open(postgres_url, StandingClock()) for _ in range(4)))
    histories = {await store.read(lambda tx: tx.history_id()) for store in stores}
    for store in stores:
        await store.close()
    assert len(histories) == 1


def _made_by(make: Callable[[sa.Connection], None], url: str) -> list[Any]:
    """Every column with its collation, every index and the version of a database that `make` made; then undone."""
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=sa.NullPool)
    with engine.connect() as connection:
        make(connection)
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        columns = (
            "SELECT table_name, column_name, data_type, is_nullable, collation_name FROM information_schema.columns"
        )
        found: list[Any] = []
        for query in (
            f"{columns} WHERE table_schema = 'public' ORDER BY 1, 2",
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexdef",
            "SELECT version_num FROM alembic_version",
        ):
            found += connection.exec_driver_sql(query).all()
        connection.rollback()
    return found


def test_a_new_database_is_what_all_migrations_make(postgres_url: str) -> None:
    assert _made_by(schema.create, postgres_url) == _made_by(schema.migrate, postgres_url)


async def test_the_database_of_an_older_release_is_migrated_with_all_its_rows(postgres_url: str) -> None:
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(postgres_url))
    with engine.begin() as connection:
        schema.migrate(connection, "0001")
        fill(connection)
    engine.dispose()
    async with opened(postgres_url) as store:
        assert await store.read(lambda tx: (tx.history_id(), tx.revision())) == ("old", 7)
        assert await store.read(lambda tx: tx.nodes.all()) == [a_node("a")]


def test_keys_sort_by_code_point_however_the_database_collates(postgres_url: str) -> None:
    collations = {row[:2]: row[4] for row in _made_by(schema.create, postgres_url) if len(row) == 5}
    keys = [(table.name, column.name) for table in metadata.sorted_tables for column in table.primary_key]
    numbers = {("meta", "id"), ("change_log", "revision"), ("events", "id"), ("authority", "id")}
    texts = [key for key in keys if key not in numbers]
    assert {collations[key] for key in texts} == {"C"}


async def test_opening_again_keeps_rows_and_history(postgres_url: str) -> None:
    async with opened(postgres_url) as store:
        await store.write(put_node("a"))
        history = await store.read(lambda tx: tx.history_id())
    async with opened(postgres_url) as again:
        assert await again.read(lambda tx: (tx.history_id(), tx.nodes.all())) == (history, [a_node("a")])


async def test_a_database_of_a_newer_version_is_left_alone(postgres_url: str, foreign: psycopg.Connection[Any]) -> None:
    async with opened(postgres_url):
        pass
    foreign.execute("UPDATE alembic_version SET version_num = '9999'")
    foreign.commit()
    with pytest.raises(StorageUnavailable, match="9999"):
        await PostgresStore.open(postgres_url, StandingClock())


async def test_an_address_that_leads_nowhere_is_refused_with_what_to_do(postgres: PostgresServer) -> None:
    with pytest.raises(StorageUnavailable, match='database "none" does not exist') as refusal:
        await open_store(postgres.url("none"), Path(), StandingClock())
    assert "database and user" in refusal.value.remedy


async def test_a_database_of_another_encoding_is_refused(postgres: PostgresServer) -> None:
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE old ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(StorageUnavailable, match="SQL_ASCII"):
        await PostgresStore.open(postgres.url("old"), StandingClock())


async def test_every_session_is_bounded_and_every_commit_durable(store: PostgresStore) -> None:
    await store.write(put_node("a"))
    link = store._writing._link
    found = {}
    for name in ("lock_timeout", "idle_in_transaction_session_timeout", "statement_timeout", "synchronous_commit"):
        link.execute(f"SHOW {name}")
        ((found[name],),) = link.fetchall()
    assert found == {
        "lock_timeout": "2s",
        "idle_in_transaction_session_timeout": "5s",
        "statement_timeout": "10s",
        "synchronous_commit": "on",
    }


async def test_the_commit_of_another_process_wakes_listeners(store: PostgresStore, other: PostgresStore) -> None:
    waiting = asyncio.ensure_future(heard(other, within=0.9))
    await asyncio.sleep(0)
    await store.write(revise("nodes", "a"))
    assert await waiting == 1
    waiting = asyncio.ensure_future(heard(other, within=0.9))
    await asyncio.sleep(0)
    await store.write(append("node.online"))
    assert await waiting == 1, "an event alone takes no revision"


async def test_f6_a_commit_that_notified_nobody_is_found_by_the_poll(
    store: PostgresStore, foreign: psycopg.Connection[Any]
) -> None:
    waiting = asyncio.ensure_future(heard(store, within=2))
    await asyncio.sleep(0)
    foreign.execute("UPDATE meta SET revision = revision + 1")
    foreign.commit()
    assert await waiting == 1


async def test_f27_concurrent_writers_leave_no_gap_and_no_disorder_for_watchers(
    postgres_url: str, store: PostgresStore, other: PostgresStore
) -> None:
    dice = random.Random(27)  # noqa: S311 - waits, not secrets
    async with opened(postgres_url) as third:
        writers = (store, other, third)
        followers = [Follower(writer) for writer in writers]
        following = [asyncio.ensure_future(follower.follow(90)) for follower in followers]
        for _ in range(10):
            waves = [writer.write(slowly("nodes", f"n{n}", dice)) for n, writer in enumerate(writers * 3)]
            await asyncio.gather(*waves)
        await asyncio.wait_for(asyncio.gather(*following), 10)
    assert [follower.revisions for follower in followers] == [list(range(1, 91))] * 3


async def test_a_change_sees_what_another_process_committed_while_it_waited_for_its_turn(
    store: PostgresStore, other: PostgresStore
) -> None:
    await store.write(put_node("a"))
    calls = [each.write(lambda tx: tx.open_session(A)) for each in (store, other) * 20]
    assert sorted(await asyncio.gather(*calls)) == list(range(1, 41))


async def test_f25_a_listener_that_is_cut_in_a_burst_misses_no_change(
    postgres: PostgresServer, store: PostgresStore, other: PostgresStore
) -> None:
    follower = Follower(other)
    following = asyncio.ensure_future(follower.follow(60))
    cut = 0
    for number in range(60):
        await store.write(revise("nodes", f"n{number}"))
        if number % 10 == 5:
            cut += await asyncio.to_thread(postgres.cut, "arw listener")
    await asyncio.wait_for(following, 10)
    assert cut
    assert follower.revisions == list(range(1, 61))


async def test_f25_a_listener_that_was_cut_looks_for_what_it_missed(
    postgres: PostgresServer, store: PostgresStore
) -> None:
    while not await asyncio.to_thread(postgres.cut, "arw listener"):  # noqa: ASYNC110 - another thread
        await asyncio.sleep(0.01)
    waiting = asyncio.ensure_future(heard(store))
    assert await waiting == 0, "something may have been missed"
