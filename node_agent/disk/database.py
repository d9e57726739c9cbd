"""The agent's SQLite file: opened durably, its errors told as refusals."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from node_agent.domain.errors import StorageUnavailable

SCHEMA = """
CREATE TABLE IF NOT EXISTS desired (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS position (id INTEGER PRIMARY KEY CHECK (id = 1), history_id TEXT NOT NULL, revision INTEGER
    NOT NULL);
CREATE TABLE IF NOT EXISTS held (name TEXT PRIMARY KEY, until REAL NOT NULL, boot_id TEXT NOT NULL, body BLOB)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS digest (path TEXT PRIMARY KEY, mark TEXT NOT NULL, sha256 TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS read_speed (id INTEGER PRIMARY KEY, storage TEXT NOT NULL, bytes_per_second INTEGER
    NOT NULL);
CREATE TABLE IF NOT EXISTS footprint (id INTEGER PRIMARY KEY, model TEXT NOT NULL, engine TEXT NOT NULL, options TEXT
    NOT NULL, accelerator TEXT NOT NULL, memory_bytes INTEGER NOT NULL, load_ms INTEGER NOT NULL, device_memory_bytes
    INTEGER, launches INTEGER NOT NULL, UNIQUE (model, engine, options, accelerator));
"""
LATER_COLUMNS = {"footprint": ("generated_per_second REAL", "prompt_per_second REAL")}
"""Of tables that an earlier agent may have made without them."""
BUSY_MS = 5000
_UNWRITABLE = (errno.EROFS, errno.EPERM, errno.EIO)


class Database:
    """One connection, used from any thread, one at a time. Every error is StorageUnavailable."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        with self._told():
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            path.chmod(0o600)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
            self._connection.executescript(SCHEMA)
            self._add_later_columns()

    def _add_later_columns(self) -> None:
        for table, columns in LATER_COLUMNS.items():
            known = {name for _, name, *_ in self._connection.execute(f"PRAGMA table_info({table})")}
            for column in columns:
                if column.split()[0] not in known:
                    self._connection.execute(f"ALTER TABLE {table} ADD COLUMN {column}")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing; durable when the block was left."""
        with self._lock, self._told():
            self._check_writable()
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise

    def _roll_back(self) -> None:
        """A full disk may have ended the transaction already."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._told():
            self._check_writable()
            yield self._connection

    def _check_writable(self) -> None:
        """OSError where nobody may write any more: there the kernel ends who writes the index of SQLite's log, a map.

        SQLite does that also to read.
        """
        try:
            # Not the index itself: to close it would end the locks that this process has on it.
            os.close(os.open(f"{self._path}-wal", os.O_WRONLY | os.O_CLOEXEC))
        except OSError as error:
            if error.errno in _UNWRITABLE:
                raise

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StorageUnavailable(
                f"The agent's database {self._path} cannot be used: {error}.",
                "Free some disk space, or make the file writable by the user that runs the agent.",
                path=str(self._path),
            ) from error
