"""A database of PostgreSQL before any control plane uses it: its schema, and by hand a new history."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from control_plane.domain.errors import InUse, StorageUnavailable
from control_plane.store import board_tables, schema
from control_plane.store.backup_history import begin_anew
from control_plane.store.counters import StoredCounters
from control_plane.store.known_history import MARK, Mark
from control_plane.store.postgres_faults import refusals
from control_plane.store.postgres_link import Patience, connected
from control_plane.store.session import Session
from control_plane.store.statements import Statements

DRIVER = "postgresql+psycopg://"
LEAVING_S = 1.0
"""PostgreSQL takes a moment to end the sessions of a process that has ended."""
LOOK_AGAIN_S = 0.05
# Any number that no other program takes for its own lock.
_SCHEMA_LOCK = 4_718_290_211
_MIGRATION_WAITS = "SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = 0"


def renew(dsn: str) -> str:
    """Give a database that was put back a new history, whose id is returned. InUse, StorageUnavailable."""
    with refusals(), _alone(dsn, Patience()) as connection:
        _check_unused(connection)
        session = Session(connection.connection.cursor(), Statements(connection.dialect, postgresql.insert))
        board_tables.empty(session)
        return begin_anew(session, StoredCounters(session))


def _check_unused(connection: sa.Connection) -> None:
    """A replica that stands still uses it too: its session lives, and it would go on with the history it knew."""
    ends = time.monotonic() + LEAVING_S
    while users := connection.exec_driver_sql(board_tables.USERS).scalars().all():
        if time.monotonic() >= ends:
            raise InUse(
                f"Control planes use this database, from: {', '.join(users)}. Nothing was changed.",
                "Stop every one of them, on each machine, with SIGTERM; then repeat the command.",
            )
        time.sleep(LOOK_AGAIN_S)


def prepared(dsn: str, patience: Patience) -> Mark:
    """Bring the schema up to date, one process at a time, and say where its history is."""
    with _alone(dsn, patience) as connection:
        _make_board(connection)
        return Mark.of(connection.exec_driver_sql(MARK).one())


def _make_board(connection: sa.Connection) -> None:
    # Not IF NOT EXISTS: for an index that waits for those who use the table, and keeps them waiting.
    if connection.exec_driver_sql(board_tables.IS_THERE).scalar_one() is None:
        for statement in board_tables.CREATE:
            connection.exec_driver_sql(statement)


@contextmanager
def _alone(dsn: str, patience: Patience) -> Iterator[sa.Connection]:
    """A transaction that no other of these runs beside, on a schema that is up to date."""
    engine = sa.create_engine(
        DRIVER,
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
