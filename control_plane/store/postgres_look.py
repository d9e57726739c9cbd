"""A look into a PostgreSQL database that changes nothing in it, not even its schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from control_plane.domain.authority import Authority, AuthorityState
from control_plane.domain.event import Event
from control_plane.domain.ids import AuthorityId
from control_plane.store import board_tables, codec
from control_plane.store.postgres_faults import refusals
from control_plane.store.postgres_link import Patience, connected
from control_plane.use_cases.lost_history import HISTORY_CHANGED


@dataclass(frozen=True, slots=True)
class Seen:
    schema: str
    """Empty: no control plane has used it yet."""
    authorities: tuple[Authority, ...]
    replicas: int
    """Control planes that use it now."""
    lost: Event | None = None
    """When it was last found without its newest changes."""


def look(dsn: str) -> Seen:
    """StorageUnavailable."""
    with refusals(), connected(dsn, "look", Patience(), autocommit=False) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        (schema,) = _first(connection, "alembic_version", "version_num") or ("",)
        authorities = _authorities(connection)
        replicas = len(connection.execute(board_tables.HOLDERS.encode()).fetchall())
        lost = _first(connection, "events", "time, payload", f"WHERE kind = '{HISTORY_CHANGED}' ORDER BY id DESC")
    return Seen(schema, authorities, replicas, _event(*lost) if lost else None)


def _authorities(connection: psycopg.Connection[Any]) -> tuple[Authority, ...]:
    """The one that an older schema has is looked at by its certificate alone."""
    former = _first(connection, "authority", "certificate, sealed_key")
    if former:
        certificate, envelope = former
        return (Authority(AuthorityId(""), AuthorityState.ACTIVE, bytes(certificate), envelope and bytes(envelope)),)
    found = _all(connection, "authorities", "document", "ORDER BY id")
    return tuple(codec.AUTHORITY.decode(document) for (document,) in found)


def _event(time: int, payload: str) -> Event:
    return Event(HISTORY_CHANGED, "", codec.decode_payload(payload), time=codec.from_micros(time))


def _first(connection: psycopg.Connection[Any], table: str, columns: str, which: str = "") -> tuple[Any, ...] | None:
    return next(iter(_all(connection, table, columns, f"{which} LIMIT 1")), None)


def _all(connection: psycopg.Connection[Any], table: str, columns: str, which: str) -> list[tuple[Any, ...]]:
    """Nothing also where there is no such table."""
    found = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [table]).fetchone()
    if not found or not found[0]:
        return []
    words = f"SELECT {columns} FROM {table} {which}"  # noqa: S608 - our own names
    return connection.execute(words.encode()).fetchall()
