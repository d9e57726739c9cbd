"""Durable changes of 64 clients at once, in SQLite and in PostgreSQL with fsync, beside the bare drivers."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from benchmarks.row import Row, median
from control_plane.domain.declaration import Outcome
from control_plane.domain.ids import NodeId
from control_plane.process.clock import SystemClock
from control_plane.store.counters import HeldCounters
from control_plane.store.listeners import Position
from control_plane.store.opening import OpenStore, open_store
from control_plane.store.session import Session
from control_plane.store.statements import Statements
from control_plane.store.transaction import SqlTransaction
from control_plane.use_cases.declare_runtimes import save_declared
from control_plane.use_cases.ports import Transaction
from tests.fakes.postgres import postgres_server
from tests.fakes.store_rows import a_model, a_runtime
from wire import event_loop

CLIENTS = 64
CHANGES = 40
"""Of each client."""
ROUNDS = 5
CLOCK = SystemClock()
POSITION = "SELECT revision, last_event_id FROM meta"

Change = Callable[[Transaction], object]
Call = tuple[str, str, Any]
"""A method of a cursor, with its arguments."""


@dataclass(frozen=True, slots=True)
class _Pace:
    a_second: float
    at_once: float
    """Changes of one commit, on average."""


@dataclass(slots=True)
class _Recorder:
    """A cursor that keeps what it runs."""

    cursor: Any
    calls: list[Call] = field(default_factory=list)

    @property
    def rowcount(self) -> int:
        return int(self.cursor.rowcount)

    def execute(self, operation: str, parameters: Any = None, /) -> object:
        self.calls.append(("execute", operation, parameters))
        return self.cursor.execute(operation, parameters)

    def executemany(self, operation: str, parameters: Sequence[Any], /) -> object:
        self.calls.append(("executemany", operation, parameters))
        return self.cursor.executemany(operation, parameters)

    def fetchall(self) -> Sequence[Any]:
        return list(self.cursor.fetchall())


@dataclass(frozen=True, slots=True)
class _Recorded:
    """One commit."""

    changes: Sequence[Sequence[Call]]
    together: Sequence[Call]
    """What all changes put off to its end."""
    after: Position


@dataclass(frozen=True, slots=True)
class _Bare:
    """A driver by itself."""

    connect: Callable[[], Any]
    statements: Statements
    begin: str
    apart: Sequence[str]
    """Ends the savepoint of one change and begins that of the next."""


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="arw-store-") as folder:
        file = Path(folder, "arw.db")
        yield from _rows("SQLite", "sqlite3", "", file, _sqlite(file))
        with postgres_server(durable=True) as server:
            url = server.new_database()
            yield from _rows("PostgreSQL", "psycopg", url, file, _postgres(url))


def _rows(name: str, driver: str, url: str, file: Path, bare: _Bare) -> Iterator[Row]:
    paces = [event_loop.run(_measured(url, file)) for _ in range(ROUNDS)]
    at_once = round(median([pace.at_once for pace in paces]))
    ours = median([pace.a_second for pace in paces])
    beside = median([_replayed(bare, at_once) for _ in range(ROUNDS)])
    yield Row.value(f"{name}: a durable change, {CLIENTS} clients at once", "ms", ours=1000 / ours, at_most=1)
    yield Row.ratio(
        f"{name}: durable changes of {CLIENTS} clients",
        "a second",
        ours=ours,
        beside=beside,
        baseline=f"the same statements on bare {driver}, {at_once} a commit",
        at_least=0.5,
    )


async def _measured(url: str, file: Path) -> _Pace:
    store = await open_store(url, file, CLOCK)
    commits: list[int] = []
    try:
        await store.write(lambda tx: tx.models.put(a_model()))
        stop = store.on_change(commits.append)
        started = time.monotonic()
        await asyncio.gather(*(_client(store, number) for number in range(CLIENTS)))
        seconds = time.monotonic() - started
        stop()
    finally:
        await store.close()
    return _Pace(CLIENTS * CHANGES / seconds, CLIENTS * CHANGES / len(commits))


async def _client(store: OpenStore, number: int) -> None:
    for turn in range(CHANGES):
        await store.write(_change(number, turn))


def _change(number: int, turn: int) -> Change:
    """What an apply of one runtime that has its place already writes."""
    runtime = replace(a_runtime(f"r{number}", generation=turn + 1), node=NodeId(f"n{number}"))
    return lambda tx: save_declared(tx, runtime, Outcome.UPDATED, CLOCK.now())


def _replayed(bare: _Bare, at_once: int) -> float:
    """Changes a second of the driver alone."""
    with closing(bare.connect()) as connection:
        cursor = connection.cursor()
        commits = list(_recorded(bare, cursor, at_once))
        started = time.monotonic()
        for commit in commits:
            _commit(bare, cursor, commit)
        return CLIENTS * CHANGES / (time.monotonic() - started)


def _recorded(bare: _Bare, cursor: Any, at_once: int) -> Iterator[_Recorded]:
    """All changes, in a transaction that is given up."""
    recorder, counters = _Recorder(cursor), HeldCounters()
    session = Session(recorder, bare.statements)
    transaction = SqlTransaction(session, CLOCK, counters)
    cursor.execute(bare.begin)
    cursor.execute(POSITION)
    counters.held = Position(*cursor.fetchone())
    left = itertools.product(range(CHANGES), range(CLIENTS))
    while some := tuple(itertools.islice(left, at_once)):
        calls = []
        for turn, number in some:
            recorder.calls = []
            transaction.restart()
            _change(number, turn)(transaction)
            calls.append(recorder.calls)
        recorder.calls = []
        session.catch_up()
        yield _Recorded(calls, recorder.calls, counters.held)
    cursor.execute("ROLLBACK")


def _commit(bare: _Bare, cursor: Any, commit: _Recorded) -> None:
    cursor.execute(bare.begin)
    cursor.execute(POSITION)
    cursor.fetchall()
    cursor.execute("SAVEPOINT change")
    for calls in commit.changes:
        _call(cursor, calls)
        for words in bare.apart:
            cursor.execute(words)
    _call(cursor, commit.together)
    revision, last_event_id = commit.after
    cursor.execute(f"UPDATE meta SET revision = {revision}, last_event_id = {last_event_id}")  # noqa: S608 - two numbers
    cursor.execute("COMMIT")


def _call(cursor: Any, calls: Sequence[Call]) -> None:
    for method, operation, parameters in calls:
        getattr(cursor, method)(operation, parameters)
        if cursor.description:
            cursor.fetchall()


def _sqlite(file: Path) -> _Bare:
    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(file, isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    statements = Statements(sqlite.dialect(paramstyle="named"), sqlite.insert)
    return _Bare(connect, statements, "BEGIN IMMEDIATE", ("RELEASE change", "SAVEPOINT change"))


def _postgres(url: str) -> _Bare:
    dialect = sa.make_url("postgresql+psycopg://").get_dialect()()
    statements = Statements(dialect, postgresql.insert)

    def connect() -> psycopg.Connection[Any]:
        return psycopg.connect(url, autocommit=True)

    return _Bare(connect, statements, "BEGIN", ("RELEASE change; SAVEPOINT change",))
