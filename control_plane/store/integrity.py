"""Whether an SQLite file is sound: looked at, never changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from control_plane.domain.errors import StorageUnavailable
from control_plane.store import codec
from control_plane.store.schema import NEWEST
from control_plane.store.sqlite import refusals

MAX_TOLD = 5
"""Damages that are told; one is enough to restore a backup."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a database says of itself."""

    schema: str
    history_id: str
    revision: int
    nodes: int
    runtimes: int


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that sees one moment, and waits for nobody. StorageUnavailable; a missing file is not made."""
    with refusals(), closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as connection:
        connection.isolation_level = None
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")
        yield connection


def facts(connection: sqlite3.Connection) -> Facts:
    """StorageUnavailable when it is no database of this program, or of a newer one."""
    try:
        ((schema,),) = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        _check_version(schema)
        ((history, revision),) = connection.execute("SELECT history_id, revision FROM meta").fetchall()
        counts = [connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("nodes", "runtimes")]  # noqa: S608
    except (sqlite3.OperationalError, ValueError) as error:
        raise StorageUnavailable(
            f"The file is a database, but none of a control plane: {error}.", "Name another file.", cause=str(error)
        ) from error
    return Facts(schema, history, revision, *counts)


def events(connection: sqlite3.Connection) -> tuple[int, datetime | None]:
    """How many the journal holds, and when the oldest was; StorageUnavailable as `facts`."""
    ((count, oldest),) = connection.execute("SELECT count(*), min(time) FROM events").fetchall()
    return count, None if oldest is None else codec.from_micros(oldest)


def damages(connection: sqlite3.Connection) -> tuple[str, ...]:
    """What is wrong with its pages, indexes and references; reads the whole file. None: it is sound."""
    found = [str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({MAX_TOLD})")]
    broken = [f"{table} refers to a row of {parent} that is missing" for table, parent in _orphans(connection)]
    return (*(line for line in found if line != "ok"), *broken)


def _orphans(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return [(row[0], row[2]) for row in connection.execute("PRAGMA foreign_key_check").fetchmany(MAX_TOLD)]


def _check_version(schema: str) -> None:
    if schema > NEWEST:
        raise StorageUnavailable(
            f"The database has schema {schema}; this version of ARW knows schemas up to {NEWEST}.",
            "Use the newer version of ARW that wrote it.",
            schema=schema,
        )
