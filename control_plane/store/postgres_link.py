"""One session of PostgreSQL that is made when it is needed, and anew after it broke."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from control_plane.store.postgres_watchdog import Watchdog

MILLISECOND = timedelta(milliseconds=1)
_GONE = "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=5"
"""After so many seconds without a sign of us the server ends the session, and what it held is free."""
_OPEN = (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR)


@dataclass(frozen=True, slots=True)
class Patience:
    lock: timedelta = timedelta(seconds=2)
    statement: timedelta = timedelta(seconds=10)
    idle_in_transaction: timedelta = timedelta(seconds=5)
    """PostgreSQL then ends the session, so that a process that stands still holds up no other."""
    connect: timedelta = timedelta(seconds=2)
    unanswered: timedelta = timedelta(seconds=5)
    """Bytes that nobody acknowledges end the session."""
    answer: timedelta = timedelta(seconds=12)
    """Longer than a statement may take: by then the server itself stands still."""

    def options(self) -> str:
        settings = {
            "lock_timeout": self.lock,
            "statement_timeout": self.statement,
            "idle_in_transaction_session_timeout": self.idle_in_transaction,
        }
        return " ".join(f"-c {name}={time // MILLISECOND}" for name, time in settings.items())


def connected(dsn: str, name: str, patience: Patience, *, autocommit: bool = True) -> psycopg.Connection[Any]:
    """`name` is what pg_stat_activity shows. What the address says of a setting comes before what is said here."""
    given = conninfo_to_dict(dsn)
    seconds = int(patience.unanswered.total_seconds())
    parameters: dict[str, Any] = {
        "application_name": f"arw {name}",
        "connect_timeout": int(patience.connect.total_seconds()),
        "keepalives_idle": seconds,
        "keepalives_interval": 1,
        "keepalives_count": seconds,
        "tcp_user_timeout": patience.unanswered // MILLISECOND,
        **given,
        # A commit that is acknowledged is on disk, whatever the server's default.
        "options": f"-c synchronous_commit=on {_GONE} {patience.options()} {given.get('options', '')}",
        "client_encoding": "utf8",
    }
    return psycopg.Connection.connect(autocommit=autocommit, **parameters)


class Outage:
    """What all links of a process know of a server that could not be reached, so that not each waits for itself."""

    def __init__(self, lasts: timedelta = timedelta(seconds=1)) -> None:
        self._lasts = lasts
        self._ends = -math.inf
        self._cause = ""

    def check(self) -> None:
        """psycopg.OperationalError when another link was refused a moment ago."""
        if time.monotonic() < self._ends:
            raise psycopg.OperationalError(self._cause)

    def begin(self, error: psycopg.OperationalError) -> None:
        self._cause = str(error)
        self._ends = time.monotonic() + self._lasts.total_seconds()


class Link:
    """For one thread at a time; the cursor of a session. The driver's errors pass through."""

    def __init__(self, dsn: str, name: str, patience: Patience, outage: Outage, watchdog: Watchdog) -> None:
        self._dsn = dsn
        self._name = name
        self._patience = patience
        self._outage = outage
        self._watchdog = watchdog
        self._connection: psycopg.Connection[Any] | None = None
        self._cursor: psycopg.Cursor[Any] | None = None

    @property
    def rowcount(self) -> int:
        return self._live().rowcount

    def execute(self, operation: str, parameters: Any = None, /) -> object:
        cursor = self._live()
        with self._watchdog.asking(cursor.connection):
            return cursor.execute(operation.encode(), parameters)

    def executemany(self, operation: str, parameters: Sequence[Any], /) -> None:
        """In one round trip for all."""
        cursor = self._live()
        with self._watchdog.asking(cursor.connection):
            cursor.executemany(operation.encode(), parameters)

    def fetchall(self) -> Sequence[Any]:
        return self._live().fetchall()

    def fetch_last(self) -> Sequence[Any]:
        """The rows of the last of several statements."""
        cursor = self._live()
        while cursor.nextset():
            pass
        return cursor.fetchall()

    def begin(self, words: str) -> None:
        """Run the words that begin a transaction; on a new connection when the one that was kept is dead."""
        if self._cursor is not None:
            try:
                self.execute(words)
            except psycopg.Error:
                if not self._is_dead():
                    raise
            else:
                return
        self._connect()
        self.execute(words)

    def end(self, word: str) -> None:
        """Afterwards no transaction is open, or no connection."""
        try:
            if self.is_open():
                self.execute(word)
        except psycopg.Error:
            self.close()

    def is_open(self) -> bool:
        """Whether a transaction is."""
        return self._connection is not None and self._connection.info.transaction_status in _OPEN

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._cursor = None

    def _connect(self) -> None:
        self.close()
        self._outage.check()
        try:
            self._connection = connected(self._dsn, self._name, self._patience)
        except psycopg.OperationalError as error:
            self._outage.begin(error)
            raise
        self._cursor = self._connection.cursor()

    def _live(self) -> psycopg.Cursor[Any]:
        if self._cursor is None:
            raise RuntimeError("No transaction was begun.")
        return self._cursor

    def _is_dead(self) -> bool:
        return self._connection is None or self._connection.closed
