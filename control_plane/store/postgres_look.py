"""A look into a PostgreSQL database that changes nothing in it, not even its schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from control_plane.domain.event import Event
from control_plane.store import board_tables, codec
from control_plane.store.postgres_faults import refusals
from control_plane.store.postgres_link import Patience, connected
from control_plane.use_cases.lost_history import HISTORY_CHANGED
from control_plane.use_cases.ports import StoredAuthority


@dataclass(frozen=True, slots=True)
class Seen:
    schema: str
    """Empty: no control plane has used it yet."""
    authority: StoredAuthority | None
    replicas: int
    """Control planes that use it now."""
    lost: Event | None = None
    """When it was last found without its newest changes."""


def look(dsn: str) -> Seen:
    """StorageUnavailable."""
    with refusals(), connected(dsn, "look", Patience(), autocommit=False) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        (schema,) = _first(connection, "alembic_version", "version_num") or ("",)
        authority = _first(connection, "authority", "certificate, sealed_key")
        replicas = len(connection.execute(board_tables.HOLDERS.encode()).fetchall())
        lost = _first(connection, "events", "time, payload", f"WHERE kind = '{HISTORY_CHANGED}' ORDER BY id DESC")
    return Seen(schema, StoredAuthority(*authority) if authority else None, replicas, _event(*lost) if lost else None)


def _event(time: int, payload: str) -> Event:
    return Event(HISTORY_CHANGED, "", codec.decode_payload(payload), time=codec.from_micros(time))


def _first(connection: psycopg.Connection[Any], table: str, columns: str, which: str = "") -> tuple[Any, ...] | None:
    """Nothing also where there is no such table."""
    found = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [table]).fetchone()
    if not found or not found[0]:
        return None
    words = f"SELECT {columns} FROM {table} {which} LIMIT 1"  # noqa: S608 - our own names
    row: tuple[Any, ...] | None = connection.execute(words.encode()).fetchone()
    return row
