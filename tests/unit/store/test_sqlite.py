"""What only the SQLite store has: one writer, snapshots, files, and the ways a disk can fail."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from control_plane.domain.errors import StorageUnavailable
from control_plane.store.sqlite import SqliteStore
from control_plane.use_cases.ports import Transaction
from tests.fakes.store_rows import StandingClock, a_node
from tests.fakes.stores import put_node, revise


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    made = await SqliteStore.open(tmp_path / "arw.db", StandingClock(), busy_timeout=timedelta(milliseconds=50))
    yield made
    await made.close()


def _modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def _hold(has_begun: threading.Event, may_go_on: threading.Event, _: Transaction) -> None:
    has_begun.set()
    assert may_go_on.wait(10)


async def test_changes_that_wait_are_committed_together(store: SqliteStore) -> None:
    heard: list[int] = []
    store.on_change(heard.append)
    has_begun, may_go_on = threading.Event(), threading.Event()
    first = asyncio.ensure_future(store.write(partial(_hold, has_begun, may_go_on)))
    assert await asyncio.to_thread(has_begun.wait, 10)
    writes = [asyncio.ensure_future(store.write(revise("nodes", f"n{number}"))) for number in range(64)]
    await asyncio.sleep(0)
    may_go_on.set()
    assert await asyncio.gather(first, *writes) == [None, *range(1, 65)]
    assert heard == [64]


async def test_no_change_is_seen_before_its_commit(store: SqliteStore) -> None:
    has_begun, may_go_on = threading.Event(), threading.Event()

    def change(tx: Transaction) -> None:
        tx.nodes.put(a_node("a"))
        _hold(has_begun, may_go_on, tx)

    writing = asyncio.ensure_future(store.write(change))
    assert await asyncio.to_thread(has_begun.wait, 10)
    assert await store.read(lambda tx: tx.nodes.all()) == []
    assert not writing.done()
    may_go_on.set()
    await writing
    assert await store.read(lambda tx: tx.nodes.all()) == [a_node("a")]


async def test_a_read_stays_on_one_snapshot_while_a_change_commits(store: SqliteStore) -> None:
    await store.write(put_node("a"))
    has_begun, may_go_on = threading.Event(), threading.Event()

    def query(tx: Transaction) -> tuple[int, int]:
        before = len(tx.nodes.all())
        _hold(has_begun, may_go_on, tx)
        return before, len(tx.nodes.all())

    reading = asyncio.ensure_future(store.read(query))
    assert await asyncio.to_thread(has_begun.wait, 10)
    await store.write(put_node("b"))
    may_go_on.set()
    assert await reading == (1, 1)
    assert len(await store.read(lambda tx: tx.nodes.all())) == 2


async def test_a_caller_who_gives_up_waiting_disturbs_no_other(store: SqliteStore) -> None:
    has_begun, may_go_on = threading.Event(), threading.Event()
    first = asyncio.ensure_future(store.write(partial(_hold, has_begun, may_go_on)))
    assert await asyncio.to_thread(has_begun.wait, 10)
    left, kept = (asyncio.ensure_future(store.write(put_node(name))) for name in "ab")
    await asyncio.sleep(0)
    left.cancel()
    may_go_on.set()
    await asyncio.gather(first, kept)
    assert left.cancelled()
    assert a_node("b") in await store.read(lambda tx: tx.nodes.all())


async def test_a_change_that_ends_its_iterator_too_early_gets_its_error_back(store: SqliteStore) -> None:
    with pytest.raises(RuntimeError):
        await store.write(lambda tx: next(iter(tx.nodes.all())))
    await store.write(put_node("a"))


async def test_closing_commits_what_waits_and_then_refuses(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "arw.db", StandingClock())
    writes = [asyncio.ensure_future(store.write(revise("nodes", f"n{number}"))) for number in range(600)]
    await asyncio.sleep(0)
    await store.close()
    assert sorted(await asyncio.gather(*writes)) == list(range(1, 601))
    with pytest.raises(StorageUnavailable, match="closed"):
        await store.write(put_node("a"))


async def test_a_writer_that_dies_refuses_what_waits_and_what_comes(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise MemoryError

    died: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: died.append(args.exc_type))
    monkeypatch.setattr(store._writing, "begin", broken)
    with pytest.raises(StorageUnavailable):
        await store.write(put_node("a"))
    with pytest.raises(StorageUnavailable):
        await store.write(put_node("b"))
    await store.close()
    assert died == [MemoryError]


async def test_durability_is_full_and_the_log_is_written_ahead(store: SqliteStore) -> None:
    connection = store._writing._connection.driver_connection
    assert isinstance(connection, sqlite3.Connection)
    settings = {
        name: connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 50}


async def test_only_the_owner_can_read_the_files(store: SqliteStore, tmp_path: Path) -> None:
    await store.write(put_node("a"))
    assert _modes(tmp_path) == {"arw.db": 0o600, "arw.db-wal": 0o600, "arw.db-shm": 0o600}


async def test_a_lock_of_another_process_is_named_and_passes(store: SqliteStore, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "arw.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable, match="Another process") as refusal:
            await store.write(put_node("a"))
        assert refusal.value.remedy
        assert await store.read(lambda tx: tx.nodes.all()) == []
    await store.write(put_node("a"))


async def test_a_damaged_file_is_refused_when_opened(tmp_path: Path) -> None:
    path = tmp_path / "arw.db"
    store = await SqliteStore.open(path, StandingClock())
    for number in range(200):
        await store.write(put_node(f"n{number}"))
    await store.close()
    pages = bytearray(path.read_bytes())
    pages[8192:-4096] = b"\xa5" * len(pages[8192:-4096])
    path.write_bytes(pages)
    with pytest.raises(StorageUnavailable, match="damaged") as refusal:
        await SqliteStore.open(path, StandingClock())
    assert "backup" in refusal.value.remedy


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "arw.db").write_bytes(b"#!/bin/sh\n" * 500)
    with pytest.raises(StorageUnavailable, match="no SQLite database"):
        await SqliteStore.open(tmp_path / "arw.db", StandingClock())


async def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="cannot be opened") as refusal:
        await SqliteStore.open(tmp_path / "missing" / "arw.db", StandingClock())
    assert "folder" in refusal.value.remedy
