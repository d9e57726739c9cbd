"""The store in one SQLite file: everything that is SQLite's own is here."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from control_plane.domain.errors import StorageUnavailable
from control_plane.store import schema
from control_plane.store.board_view import Limits
from control_plane.store.counters import HeldCounters
from control_plane.store.listeners import Listeners, Position
from control_plane.store.session import Session
from control_plane.store.sole_board import SoleBoard
from control_plane.store.sql_store import SqlStore
from control_plane.store.sqlite_place import MOVED, MOVED_FAULT, UNWRITABLE_FAULT, Place
from control_plane.store.statements import Statements
from control_plane.store.transaction import SqlTransaction
from control_plane.store.writer import Writer
from control_plane.use_cases.ports import Clock, Transaction

T = TypeVar("T")

READERS = 4
BUSY_TIMEOUT = timedelta(seconds=5)
_WAL_KEPT_BYTES = 64 * 1024 * 1024
_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    f"journal_size_limit = {_WAL_KEPT_BYTES}",
)

_RESTORE = "Stop the control plane, and restore the newest backup: arwctl admin restore FILE"

# Primary result code -> what happened, what to do next.
_FAULTS: Mapping[int, tuple[str, str]] = {
    sqlite3.SQLITE_FULL: (
        "The disk that holds the database is full.",
        "Free some space on it. Reading goes on meanwhile, and writing resumes by itself.",
    ),
    sqlite3.SQLITE_READONLY: UNWRITABLE_FAULT,
    sqlite3.SQLITE_IOERR: (
        "The disk that holds the database failed to read or write.",
        "Look for disk errors and quotas in the system's log, then repeat the request.",
    ),
    sqlite3.SQLITE_CORRUPT: ("The database is damaged.", _RESTORE),
    sqlite3.SQLITE_NOTADB: ("The database file is no SQLite database.", _RESTORE),
    sqlite3.SQLITE_BUSY: (
        "Another process holds the database.",
        "End the other process that has the database open, then repeat the request.",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "The database cannot be opened.",
        "Check that its folder exists and that the user who runs the control plane may write there.",
    ),
    sqlite3.SQLITE_NOMEM: (
        "There was no memory left for the database.",
        "End something else on this machine, then repeat the request.",
    ),
}
_FAULTS = {
    **_FAULTS,
    sqlite3.SQLITE_LOCKED: _FAULTS[sqlite3.SQLITE_BUSY],
    sqlite3.SQLITE_PERM: _FAULTS[sqlite3.SQLITE_CANTOPEN],
    MOVED: MOVED_FAULT,
}


class SqliteStore(SqlStore):
    """One process at a time; who that is, others decide with a lock file."""

    def __init__(self, writing: sa.Engine, reading: sa.Engine, clock: Clock, place: Place) -> None:
        self._place = place
        self._writing_engine = writing
        self._reading = reading
        self._clock = clock
        self._statements = Statements(sqlite.dialect(paramstyle="named"), sqlite.insert)
        self._writing = _Writing(writing.raw_connection(), self._statements, clock, place)
        self._free: list[_Reading] = []
        self._opened_at = 0
        """The newest revision before anybody could write."""
        listeners = Listeners()
        super().__init__(Writer(self._writing, listeners), listeners, READERS)

    @classmethod
    async def open(cls, path: Path, clock: Clock, busy_timeout: timedelta = BUSY_TIMEOUT) -> Self:
        """Check, migrate and open the file at `path`, making it when missing.

        StorageUnavailable when it is damaged, locked, not ours to write, or from a newer version.
        """
        with refusals():
            await asyncio.to_thread(_touch, path)
            engines = await asyncio.to_thread(_opened, path, busy_timeout)
            store = cls(*engines, clock, Place(path))
            store._opened_at = await store.read(lambda tx: tx.revision())
        store._writer.start()
        return store

    def is_newest(self, revision: int) -> bool:
        """Listeners are told before whoever made the change is."""
        return revision == max(self._opened_at, self._listeners.told.revision)

    def board(self, _: Limits | None = None) -> SoleBoard:
        return SoleBoard(self._clock)

    def _dispose(self) -> None:
        for reading in self._free:
            reading.close()
        # The last connection to close folds the write-ahead log into the file.
        self._reading.dispose()
        self._writing.close()
        self._writing_engine.dispose()

    def _read(self, query: Callable[[Transaction], T]) -> T:
        with refusals():
            self._place.check_writable()
            # As many as there are threads, at the most.
            reading = self._free.pop() if self._free else self._new_reading()
            try:
                return reading.run(query)
            finally:
                self._free.append(reading)

    def _new_reading(self) -> _Reading:
        # It would make an empty file where there is none.
        self._place.check()
        return _Reading(self._reading.raw_connection(), self._statements, self._clock)


class _Reading:
    """A reader's connection, for one thread at a time."""

    def __init__(self, connection: sa.PoolProxiedConnection, statements: Statements, clock: Clock) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._transaction = SqlTransaction(Session(self._cursor, statements), clock)

    def run(self, query: Callable[[Transaction], T]) -> T:
        with _no_writes():
            self._transaction.restart()
            self._cursor.execute("BEGIN")
            try:
                return query(self._transaction)
            finally:
                self._connection.rollback()

    def close(self) -> None:
        self._connection.close()


class _Writing:
    """The writing connection, for the writer's thread alone."""

    error = sqlite3.Error

    def __init__(
        self, connection: sa.PoolProxiedConnection, statements: Statements, clock: Clock, place: Place
    ) -> None:
        self._place = place
        self._connection = connection
        self._cursor = connection.cursor()
        self._session = Session(self._cursor, statements)
        self._counters = HeldCounters()
        self._transaction = SqlTransaction(self._session, clock, self._counters)
        self._stored = self._before = self._counters.held
        self._mark = 0

    def begin(self) -> None:
        self._session.forget()
        self._place.check()
        self._cursor.execute("BEGIN IMMEDIATE")
        (position,) = self._session.rows(self._session.statements.position)
        self._stored = self._counters.held = Position(*position)

    def position(self) -> Position:
        return self._counters.held

    def savepoint(self) -> SqlTransaction:
        self._cursor.execute("SAVEPOINT change")
        self._before, self._mark = self._counters.held, self._session.mark
        self._transaction.restart()
        return self._transaction

    def release(self) -> None:
        self._cursor.execute("RELEASE change")

    def undo(self) -> None:
        self._counters.held = self._before
        self._session.forget(self._mark)
        self._cursor.execute("ROLLBACK TO change")
        self._cursor.execute("RELEASE change")

    def is_lost(self, _: BaseException, /) -> bool:
        connection = self._connection.driver_connection
        return not (isinstance(connection, sqlite3.Connection) and connection.in_transaction)

    def commit(self, _: Position | None, /) -> None:
        self._session.catch_up()
        if self._counters.held != self._stored:
            self._cursor.execute("UPDATE meta SET revision = ?, last_event_id = ?", self._counters.held)
        self._cursor.execute("COMMIT")

    def rollback(self) -> None:
        self._connection.rollback()

    def close(self) -> None:
        self._connection.close()

    def may_pass(self, _: BaseException, /) -> bool:
        return False

    def refusal(self, error: BaseException) -> BaseException:
        return _refusal(error) or error


def _touch(path: Path) -> None:
    # Made first, so that only its owner ever reads it; the files beside it take its mode.
    try:
        path.touch(mode=0o600)
    except OSError as error:
        raise _fault(sqlite3.SQLITE_CANTOPEN, str(error)) from error


def _opened(path: Path, busy_timeout: timedelta) -> tuple[sa.Engine, sa.Engine]:
    writing, reading = (_engine(path, busy_timeout, is_writer) for is_writer in (True, False))
    with writing.connect() as connection:
        _check(connection)
    with writing.begin() as connection:
        schema.bring_up_to_date(connection)
    return writing, reading


def _engine(path: Path, busy_timeout: timedelta, is_writer: bool) -> sa.Engine:
    # isolation_level None: the driver begins nothing by itself.
    url = sa.URL.create("sqlite+pysqlite", database=str(path))
    connect = {"isolation_level": None, "timeout": busy_timeout.total_seconds()}
    engine = sa.create_engine(url, pool_size=READERS, connect_args=connect)

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        for pragma in (*_PRAGMAS, f"query_only = {'OFF' if is_writer else 'ON'}"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")

    return engine


def _check(connection: sa.Connection) -> None:
    found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if found != "ok":
        raise _fault(sqlite3.SQLITE_CORRUPT, str(found))
    if orphan := connection.exec_driver_sql("PRAGMA foreign_key_check").first():
        raise _fault(sqlite3.SQLITE_CORRUPT, f"{orphan[0]} refers to a row of {orphan[2]} that is missing")


@contextmanager
def refusals() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, sa.exc.DBAPIError) as error:
        if (refusal := _refusal(error)) is None:
            raise
        raise refusal from error


@contextmanager
def _no_writes() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_READONLY:
            raise
        raise RuntimeError("A read must not write.") from error


def _refusal(error: BaseException) -> StorageUnavailable | None:
    """None: the fault is a programmer's, not the disk's."""
    if isinstance(error, sa.exc.DBAPIError):
        return _refusal(error.orig) if error.orig is not None else None
    code = getattr(error, "sqlite_errorcode", None)
    if not isinstance(code, int):
        return None
    # The low byte is the primary code.
    known = code if code in _FAULTS else code & 0xFF
    return _fault(known, str(error)) if known in _FAULTS else None


def _fault(code: int, cause: str) -> StorageUnavailable:
    text, remedy = _FAULTS[code]
    return StorageUnavailable(text, remedy, cause=cause)
