"""Copies of a database that is in use, and what one that was put back hands out."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from control_plane.domain.admission import Presented, activated, refusal
from control_plane.domain.errors import CertificateNotActive, StorageUnavailable
from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.node import Node
from control_plane.store import backup, integrity, postgres_opening
from control_plane.store.sqlite import SqliteStore
from control_plane.store.tables import metadata
from control_plane.use_cases.lost_history import JUMP
from control_plane.use_cases.ports import Transaction
from tests.fakes.postgres_stores import opened
from tests.fakes.store_rows import NOON, StandingClock, a_node, a_runtime, placed
from tests.fakes.stores import AnyStore, append, put_node

N1 = NodeId("n1")
END = NOON + timedelta(hours=24)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    made = await SqliteStore.open(tmp_path / "arw.db", StandingClock())
    yield made
    await made.close()


def unheard(_done: int, _total: int) -> None:
    """Nobody looks at this progress."""


def fill(tx: Transaction) -> None:
    tx.nodes.put(replace(a_node("n1"), certificate_serial="aa", certificate_expire_time=END))
    tx.runtimes.put(a_runtime("r1"))
    tx.desired.put(N1, "r1", 1, placed("r1"))
    tx.desired.put(N1, "gone", 1, placed("gone"))
    tx.desired.bury(N1, "gone")
    tx.open_session(N1)


async def test_a_copy_is_one_moment_of_a_database_that_is_written_meanwhile(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.write(lambda tx: [put_node(f"n{number}")(tx) for number in range(3000)] and None)
    pages: list[int] = []

    def progress(done: int, _total: int) -> None:
        pages.append(done)
        with closing(sqlite3.connect(tmp_path / "arw.db", isolation_level=None)) as other:
            other.execute("DELETE FROM nodes WHERE id IN (SELECT id FROM nodes LIMIT 100)")

    monkeypatch.setattr(backup, "PAGES_AT_ONCE", 10)
    backup.copy_database(tmp_path / "arw.db", tmp_path / "copy.db", progress)
    assert len(pages) > 10
    assert pages == sorted(pages), "it never began anew"
    assert backup.check(tmp_path / "copy.db").nodes == 3000
    assert not (tmp_path / "copy.db-wal").exists()
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600


async def test_a_copy_has_the_rows_of_every_table(store: SqliteStore, tmp_path: Path) -> None:
    await store.write(fill)
    with closing(sqlite3.connect(tmp_path / "arw.db", isolation_level=None)) as other:
        other.execute("INSERT INTO leader VALUES ('control-plane', 3, 'r')")
        other.execute("INSERT INTO authorities VALUES ('a', '{}')")
        other.execute("INSERT INTO jobs VALUES ('j', '{}')")
    backup.copy_database(tmp_path / "arw.db", tmp_path / "copy.db", unheard)
    tables = {table.name: rows(tmp_path / "arw.db", table.name) for table in metadata.sorted_tables}
    assert {name: rows(tmp_path / "copy.db", name) for name in tables} == tables
    assert {"leader", "authorities", "jobs", "nodes"} <= {name for name, found in tables.items() if found}
    backup.renew(tmp_path / "copy.db")
    assert rows(tmp_path / "copy.db", "leader") == [("control-plane", 3 + JUMP, "r")]
    assert rows(tmp_path / "copy.db", "authorities") == tables["authorities"]


def rows(database: Path, table: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - our own table


async def test_a_renewed_copy_hands_out_nothing_twice(store: SqliteStore, tmp_path: Path) -> None:
    await store.write(fill)
    await store.write(append("cluster.node.changed"))
    before = backup.copy_database(tmp_path / "arw.db", tmp_path / "copy.db", unheard)
    history = backup.renew(tmp_path / "copy.db")
    assert history != before.history_id
    again = await SqliteStore.open(tmp_path / "copy.db", StandingClock())
    try:
        await jumped(again, history, before.revision)
    finally:
        await again.close()


async def jumped(store: AnyStore, history: str, before: int) -> None:
    """The counters are far ahead, everything that was declared is there, and no old cursor is gone on from."""
    revision = before + JUMP
    assert await store.read(lambda tx: tx.history_id()) == history
    assert await store.read(lambda tx: (tx.revision(), tx.compacted_revision())) == (revision, revision)
    assert await store.read(lambda tx: list(tx.changes(0))) == []
    assert await store.read(lambda tx: [row.name for row in tx.desired.since(N1, 0)]) == ["r1"]
    assert await store.read(lambda tx: tx.runtimes.get(RuntimeId("r1"))) == a_runtime("r1")
    assert await store.write(lambda tx: tx.open_session(N1)) == JUMP + 2
    await store.write(append("cluster.node.changed"))
    assert (await store.read(lambda tx: tx.journal.newest((), 1)))[-1].id > JUMP


async def test_a_database_of_postgresql_that_was_put_back_begins_a_new_history(postgres_url: str) -> None:
    async with opened(postgres_url) as made:
        await made.write(fill)
        before = await made.read(lambda tx: tx.revision())
    history = postgres_opening.renew(postgres_url)
    async with opened(postgres_url) as made:
        await jumped(made, history, before)


def restored() -> Node:
    node = replace(a_node("n1"), certificate_serial="aa", certificate_expire_time=END)
    return replace(node, newer_certificate_believed=True)


def test_after_a_restore_a_certificate_that_was_renewed_since_the_backup_is_taken_once() -> None:
    newer = Presented(N1, "bb", END + timedelta(hours=1))
    assert refusal(restored(), newer, NOON) is None
    known = activated(restored(), newer)
    assert (known.certificate_serial, known.newer_certificate_believed) == ("bb", False)
    assert isinstance(refusal(known, Presented(N1, "cc", END + timedelta(hours=2)), NOON), CertificateNotActive)


def test_after_a_restore_a_certificate_from_before_the_recorded_one_stays_refused() -> None:
    older = Presented(N1, "99", END - timedelta(hours=1))
    assert isinstance(refusal(restored(), older, NOON), CertificateNotActive)


async def test_a_damaged_database_is_not_backed_up(tmp_path: Path) -> None:
    path = tmp_path / "arw.db"
    made = await SqliteStore.open(path, StandingClock())
    for number in range(200):
        await made.write(put_node(f"n{number}"))
    await made.close()
    pages = bytearray(path.read_bytes())
    pages[-4096:] = b"\xa5" * 4096
    path.write_bytes(pages)
    with pytest.raises(StorageUnavailable, match="damaged") as refused:
        backup.copy_database(path, tmp_path / "copy.db", unheard)
    assert "restore" in refused.value.remedy.lower()


async def test_a_copy_without_room_is_refused_as_such(store: SqliteStore, tmp_path: Path) -> None:
    await store.write(lambda tx: [put_node(f"n{number}")(tx) for number in range(3000)] and None)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, unlimited[1]))
    try:
        with pytest.raises(StorageUnavailable, match="cannot be copied into") as refused:
            backup.copy_database(tmp_path / "arw.db", tmp_path / "copy.db", unheard)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert "room" in refused.value.remedy


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE t (a)")
    with pytest.raises(StorageUnavailable, match="none of a control plane"):
        backup.check(tmp_path / "other.db")


async def test_a_database_of_a_newer_version_is_refused(store: SqliteStore, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "arw.db", isolation_level=None)) as other:
        other.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StorageUnavailable, match="schema 9999"):
        backup.check(tmp_path / "arw.db")


def test_a_missing_database_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="cannot be opened"), integrity.reading(tmp_path / "none.db"):
        pass
    assert not (tmp_path / "none.db").exists()


async def test_a_reference_to_a_row_that_is_missing_is_a_damage(tmp_path: Path) -> None:
    path = tmp_path / "arw.db"
    await (await SqliteStore.open(path, StandingClock())).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        other.execute("CREATE TABLE child (id INTEGER REFERENCES parent)")
        other.execute("INSERT INTO child VALUES (7)")
    with pytest.raises(StorageUnavailable, match="damaged") as refused:
        await SqliteStore.open(path, StandingClock())
    assert "arwctl admin restore" in refused.value.remedy
    assert "parent" in refused.value.metadata["cause"]
