"""The store in PostgreSQL: everything that is PostgreSQL's own is here and in the files beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self, TypeVar

import psycopg
import sqlalchemy as sa
from psycopg import errors
from sqlalchemy.dialects import postgresql

from control_plane.domain.errors import StorageUnavailable
from control_plane.store import schema
from control_plane.store.backup_history import begin_anew
from control_plane.store.counters import HeldCounters
from control_plane.store.listeners import Listeners, Position
from control_plane.store.postgres_ear import CHANNEL, Ear
from control_plane.store.postgres_faults import is_passing, refusal_of, refusals
from control_plane.store.postgres_link import Link, Outage, Patience, connected
from control_plane.store.postgres_watchdog import Watchdog
from control_plane.store.session import Session
from control_plane.store.sql_store import SqlStore
from control_plane.store.statements import Statements
from control_plane.store.transaction import SqlTransaction
from control_plane.store.writer import Writer
from control_plane.use_cases.ports import Clock, Transaction

T = TypeVar("T")

READERS = 4
_DRIVER = "postgresql+psycopg://"
_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# The counter's row first: writers of all processes take turns, and each sees everything that was committed before it.
_TURN = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT revision, last_event_id FROM meta FOR UPDATE"
# Any number that no other program takes for its own lock.
_SCHEMA_LOCK = 4_718_290_211
_MIGRATION_WAITS = "SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = 0"


class PostgresStore(SqlStore):
    """Any number of processes may use one database."""

    def __init__(self, dsn: str, clock: Clock, patience: Patience, position: Position, *, sole: bool) -> None:
        self._statements = Statements(sa.make_url(_DRIVER).get_dialect()(), postgresql.insert)
        listeners = Listeners(position)
        self._loop = asyncio.get_running_loop()
        self._watchdog = Watchdog(patience.answer)
        outage = Outage()

        def link(name: str, *, sole: bool = False) -> Link:
            return Link(dsn, name, patience, outage, self._watchdog, sole=sole)

        self._writing = _Writing(link("writer", sole=sole), self._statements, clock)
        super().__init__(Writer(self._writing, listeners), listeners, READERS)
        self._ear = Ear(dsn, patience, self._watchdog, self._heard)
        self._free = [_Reading(link("reader"), self._statements, clock) for _ in range(READERS)]

    @classmethod
    async def open(cls, dsn: str, clock: Clock, patience: Patience | None = None, *, sole: bool = False) -> Self:
        """Migrate and open the database at `dsn`; as its `sole` one while no other does so.

        StorageUnavailable when it is away, not ours to write, from a newer version, or has its sole one.
        """
        patience = patience or Patience()
        with refusals():
            position = await asyncio.to_thread(_prepared, dsn, patience)
        store = cls(dsn, clock, patience, position, sole=sole)
        store._watchdog.start()
        store._writer.start()
        store._ear.start()
        if sole:
            await store._claimed()
        return store

    async def _claimed(self) -> None:
        try:
            await self.write(lambda _: None)
        except StorageUnavailable:
            await self.close()
            raise

    def _dispose(self) -> None:
        self._ear.close()
        for reading in self._free:
            reading.close()
        self._writing.close()
        self._watchdog.close()

    def _read(self, query: Callable[[Transaction], T]) -> T:
        reading = self._free.pop()
        try:
            return reading.run(query)
        finally:
            self._free.append(reading)

    def _heard(self, position: Position, may_have_missed: bool) -> None:
        tell = self._listeners.tell_again if may_have_missed else self._listeners.tell
        self._loop.call_soon_threadsafe(tell, position)


class _Reading:
    """A reader's connection, for one thread at a time."""

    def __init__(self, link: Link, statements: Statements, clock: Clock) -> None:
        self._link = link
        self._transaction = SqlTransaction(Session(link, statements), clock)

    def run(self, query: Callable[[Transaction], T]) -> T:
        with refusals():
            self._transaction.restart()
            try:
                self._link.begin(_SNAPSHOT)
                return query(self._transaction)
            except errors.ReadOnlySqlTransaction as error:
                raise RuntimeError("A read must not write.") from error
            finally:
                # After a ROLLBACK the driver forgets every statement that it has prepared.
                self._link.end("COMMIT")

    def close(self) -> None:
        self._link.close()


class _Writing:
    """The writing connection, for the writer's thread alone."""

    error = psycopg.Error

    def __init__(self, link: Link, statements: Statements, clock: Clock) -> None:
        self._link = link
        self._counters = HeldCounters()
        self._transaction = SqlTransaction(Session(link, statements), clock, self._counters)
        self._stored = self._before = self._counters.held
        self._has_savepoint = False

    def begin(self) -> None:
        self._has_savepoint = False
        try:
            self._link.begin(_TURN)
        except errors.ReadOnlySqlTransaction:
            # The next connection may lead to the server that took over.
            self._link.close()
            raise
        self._stored = self._counters.held = _position(self._link.fetch_last())

    def position(self) -> Position:
        return self._counters.held

    def savepoint(self) -> SqlTransaction:
        # Released only here, in the same round trip; a commit releases the last one.
        self._link.execute("RELEASE change; SAVEPOINT change" if self._has_savepoint else "SAVEPOINT change")
        self._has_savepoint = True
        self._before = self._counters.held
        self._transaction.restart()
        return self._transaction

    def release(self) -> None:
        """See `savepoint`."""

    def undo(self) -> None:
        self._counters.held = self._before
        self._link.execute("ROLLBACK TO change")

    def is_lost(self, error: BaseException, /) -> bool:
        # What is not the change's own fault, as a lock or a slow disk, would cost each change of the batch as long.
        return not self._link.is_open() or isinstance(refusal_of(error), StorageUnavailable)

    def commit(self, news: Position | None, /) -> None:
        words = "COMMIT"
        if news:
            # Inside the transaction: it is delivered if and when the transaction is committed.
            words = f"NOTIFY {CHANNEL}, '{news.revision}'; {words}"
        if self._counters.held != self._stored:
            revision, last_event_id = self._counters.held
            words = f"UPDATE meta SET revision = {revision}, last_event_id = {last_event_id}; {words}"  # noqa: S608 - two numbers
        self._link.execute(words)

    def rollback(self) -> None:
        self._link.end("ROLLBACK")

    def close(self) -> None:
        self._link.close()

    def may_pass(self, error: BaseException, /) -> bool:
        return is_passing(error)

    def refusal(self, error: BaseException) -> BaseException:
        return refusal_of(error) or error


def _position(records: Sequence[tuple[int, int]]) -> Position:
    for record in records:
        return Position(*record)
    raise psycopg.OperationalError("the table meta is empty")


def renew(dsn: str) -> str:
    """Give a database that was put back a new history, whose id is returned. StorageUnavailable."""
    with refusals(), _alone(dsn, Patience()) as connection:
        return begin_anew(connection)


def _prepared(dsn: str, patience: Patience) -> Position:
    """Bring the schema up to date, one process at a time, and say where its history is."""
    with _alone(dsn, patience) as connection:
        return Position(*connection.exec_driver_sql("SELECT revision, last_event_id FROM meta").one())


@contextmanager
def _alone(dsn: str, patience: Patience) -> Iterator[sa.Connection]:
    """A transaction that no other of these runs beside, on a schema that is up to date."""
    engine = sa.create_engine(
        _DRIVER,
        creator=lambda: connected(dsn, "migration", patience, autocommit=False),
        poolclass=sa.NullPool,
    )
    with engine.begin() as connection:
        _check(connection)
        connection.exec_driver_sql(_MIGRATION_WAITS)
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_SCHEMA_LOCK})")
        schema.bring_up_to_date(connection)
        yield connection


def _check(connection: sa.Connection) -> None:
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding != "UTF8":
        raise StorageUnavailable(
            f"The database keeps text as {encoding}.", "Create it again WITH ENCODING 'UTF8' TEMPLATE template0."
        )
