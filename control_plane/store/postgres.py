"""The store in PostgreSQL: everything that is PostgreSQL's own is here and in the files beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self, TypeVar

import psycopg
import sqlalchemy as sa
import structlog
from psycopg import errors
from sqlalchemy.dialects import postgresql

from control_plane.domain.errors import StorageUnavailable
from control_plane.store.board_view import Limits
from control_plane.store.counters import HeldCounters
from control_plane.store.known_history import MARK, KnownHistory, Mark, Notebook
from control_plane.store.listeners import Listeners, Position
from control_plane.store.postgres_board import PostgresBoard
from control_plane.store.postgres_ear import CHANNEL, Ear
from control_plane.store.postgres_faults import is_passing, refusal_of, refusals
from control_plane.store.postgres_link import Link, Outage, Patience
from control_plane.store.postgres_opening import DRIVER, prepared
from control_plane.store.postgres_watchdog import Watchdog
from control_plane.store.session import Session
from control_plane.store.sql_store import SqlStore
from control_plane.store.statements import Statements
from control_plane.store.transaction import SqlTransaction
from control_plane.store.writer import Writer
from control_plane.use_cases.lost_history import JUMP, begin_anew
from control_plane.use_cases.ports import Clock, Transaction

T = TypeVar("T")

READERS = 4
_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# The counter's row first: writers of all processes take turns, and each sees everything that was committed before it.
_TURN = f"BEGIN ISOLATION LEVEL READ COMMITTED; {MARK} FOR UPDATE"

_log = structlog.get_logger()


class PostgresStore(SqlStore):
    """Any number of processes may use one database."""

    def __init__(self, dsn: str, clock: Clock, patience: Patience, mark: Mark, notebook: Notebook) -> None:
        self._statements = Statements(sa.make_url(DRIVER).get_dialect()(), postgresql.insert)
        listeners = Listeners(mark.position)
        self._loop = asyncio.get_running_loop()
        self._watchdog = Watchdog(patience.answer)
        outage = Outage()

        def link(name: str) -> Link:
            return Link(dsn, name, patience, outage, self._watchdog)

        self._new_link = link
        self._boards: list[PostgresBoard] = []
        noted = notebook.read()
        self._notebook = notebook
        self._known = KnownHistory(noted if noted and noted.is_ahead_of(mark) else mark)
        self._turn: asyncio.Future[None] | None = None
        self._writing = _Writing(link("writer"), self._statements, clock, self._known)
        super().__init__(Writer(self._writing, listeners), listeners, READERS)
        self._ear = Ear(dsn, patience, self._watchdog, self._known, tell=self._heard, tell_board=self._heard_of_board)
        self._free = [_Reading(link("reader"), self._statements, clock) for _ in range(READERS)]

    @classmethod
    async def open(cls, dsn: str, clock: Clock, patience: Patience | None = None, note: Path | None = None) -> Self:
        """Migrate and open the database at `dsn`. StorageUnavailable when it is away, not ours to write, or newer.

        In the file `note` stands how far the process before knew it.
        """
        patience = patience or Patience()
        with refusals():
            mark = await asyncio.to_thread(prepared, dsn, patience)
        store = cls(dsn, clock, patience, mark, Notebook(note))
        store._watchdog.start()
        store._writer.start()
        store._ear.start()
        if store._known.mark != mark:
            await store.write(lambda _: None)
        return store

    def board(self, limits: Limits | None = None) -> PostgresBoard:
        """For one replica. It ends with the store at the latest."""
        made = PostgresBoard(self._new_link("board"), limits or Limits())
        self._boards.append(made)
        return made

    def _dispose(self) -> None:
        self._ear.close()
        self._note(at_once=True)
        for board in self._boards:
            board.close()
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

    def _heard(self, position: Position, may_have_missed: bool, is_doubtful: bool) -> None:
        tell = self._listeners.tell_again if may_have_missed else self._listeners.tell
        self._loop.call_soon_threadsafe(tell, position)
        self._note()
        if is_doubtful:
            self._loop.call_soon_threadsafe(self._take_turn)

    def _note(self, *, at_once: bool = False) -> None:
        # Only replicas leave something behind, and no process that was refused.
        if self._boards:
            self._notebook.write(self._known.mark, at_once=at_once)

    def _take_turn(self) -> None:
        """Which tells what has become of the history. A turn that fails is taken again when that is heard again."""
        if self._turn is None or self._turn.done():
            self._turn = asyncio.ensure_future(self._writer.write(lambda _: None))
            self._turn.add_done_callback(_noted)

    def _heard_of_board(self, replica: str) -> None:
        for board in self._boards.copy():
            self._loop.call_soon_threadsafe(board.heard, replica)


class _Reading:
    """A reader's connection, for one thread at a time."""

    def __init__(self, link: Link, statements: Statements, clock: Clock) -> None:
        self._link = link
        self._transaction = SqlTransaction(Session(link, statements), clock, is_shared=True)

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

    def __init__(self, link: Link, statements: Statements, clock: Clock, known: KnownHistory) -> None:
        self._link = link
        self._clock = clock
        self._known = known
        self._session = Session(link, statements)
        self._counters = HeldCounters()
        self._transaction = SqlTransaction(self._session, clock, self._counters, is_shared=True)
        self._stored = self._before = self._counters.held
        self._mark = 0
        self._history = known.mark.history_id
        self._has_savepoint = False

    def begin(self) -> None:
        known = self._known.mark
        found = self._take_turn()
        if known.is_ahead_of(found):
            # By this very row's lock only one of all that notice it does this.
            self._transaction.restart()
            begin_anew(self._transaction, known.position.revision, self._clock.now())
            self.commit(self.position())
            found = self._take_turn()
        self._known.committed(found)

    def _take_turn(self) -> Mark:
        self._has_savepoint = False
        self._session.forget()
        try:
            self._link.begin(_TURN)
        except errors.ReadOnlySqlTransaction:
            # The next connection may lead to the server that took over.
            self._link.close()
            raise
        found = _mark(self._link.fetch_last())
        self._history, self._stored = found
        self._counters.held = self._stored
        return found

    def position(self) -> Position:
        return self._counters.held

    def savepoint(self) -> SqlTransaction:
        # Released only here, in the same round trip; a commit releases the last one.
        self._link.execute("RELEASE change; SAVEPOINT change" if self._has_savepoint else "SAVEPOINT change")
        self._has_savepoint = True
        self._before, self._mark = self._counters.held, self._session.mark
        self._transaction.restart()
        return self._transaction

    def release(self) -> None:
        """See `savepoint`."""

    def undo(self) -> None:
        self._counters.held = self._before
        self._session.forget(self._mark)
        self._link.execute("ROLLBACK TO change")

    def is_lost(self, error: BaseException, /) -> bool:
        # What is not the change's own fault, as a lock or a slow disk, would cost each change of the batch as long.
        return not self._link.is_open() or isinstance(refusal_of(error), StorageUnavailable)

    def commit(self, news: Position | None, /) -> None:
        self._session.catch_up()
        words = "COMMIT"
        if news:
            # Inside the transaction: it is delivered if and when the transaction is committed.
            words = f"NOTIFY {CHANNEL}, '{news.revision}'; {words}"
        if self._counters.held != self._stored:
            revision, last_event_id = self._counters.held
            words = f"UPDATE meta SET revision = {revision}, last_event_id = {last_event_id}; {words}"  # noqa: S608 - two numbers
        self._link.execute(words)
        self._known.committed(Mark(self._history, self._counters.held))
        if self._counters.held.revision - self._stored.revision >= JUMP:
            _log.error("history_begun_anew", lost=self._history, revision=self._counters.held.revision)

    def rollback(self) -> None:
        self._link.end("ROLLBACK")

    def close(self) -> None:
        self._link.close()

    def may_pass(self, error: BaseException, /) -> bool:
        return is_passing(error)

    def refusal(self, error: BaseException) -> BaseException:
        return refusal_of(error) or error


def _mark(records: Sequence[tuple[str, int, int]]) -> Mark:
    for record in records:
        return Mark.of(record)
    raise psycopg.OperationalError("the table meta is empty")


def _noted(turn: asyncio.Future[None]) -> None:
    try:
        turn.result()
    except StorageUnavailable as refusal:
        _log.warning("history_not_looked_at", text=refusal.text)
