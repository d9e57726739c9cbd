"""Learnt footprints in the agent's database, the ones used last."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import timedelta

from node_agent.disk.database import Database
from node_agent.domain.errors import StorageUnavailable
from node_agent.domain.footprint import Footprint, FootprintKey, Speeds

KEPT = 256
_FIELDS = "memory_bytes, load_ms, device_memory_bytes, launches, generated_per_second, prompt_per_second"
_KEY = "model = ? AND engine = ? AND options = ? AND accelerator = ?"


class SqliteFootprints:
    """Implements Footprints. A disk that is full costs what was to be remembered."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, key: FootprintKey) -> Footprint | None:
        query = f"SELECT {_FIELDS} FROM footprint WHERE {_KEY}"  # noqa: S608 - constants
        with contextlib.suppress(StorageUnavailable), self._database.reading() as connection:
            row = connection.execute(query, _values(key)).fetchone()
            return _footprint(key, row) if row else None
        return None

    def slowest_load(self, key: FootprintKey) -> timedelta | None:
        """Whatever accelerator it was loaded to."""
        query = "SELECT MAX(load_ms) FROM footprint WHERE model = ? AND engine = ? AND options = ?"
        with contextlib.suppress(StorageUnavailable), self._database.reading() as connection:
            (slowest,) = connection.execute(query, _values(key)[:3]).fetchone()
            return timedelta(milliseconds=slowest) if slowest else None
        return None

    def keep(self, footprint: Footprint) -> None:
        row = (
            *_values(footprint.key),
            footprint.memory_bytes,
            round(footprint.load_time / timedelta(milliseconds=1)),
            footprint.device_memory_bytes,
            footprint.launches,
            footprint.speeds.generated,
            footprint.speeds.prompt,
        )
        with contextlib.suppress(StorageUnavailable), self._database.transaction() as connection:
            connection.execute(f"DELETE FROM footprint WHERE {_KEY}", row[:4])  # noqa: S608 - constants
            connection.execute(
                f"INSERT INTO footprint (model, engine, options, accelerator, {_FIELDS})"  # noqa: S608 - constants
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            connection.execute(
                "DELETE FROM footprint WHERE id NOT IN (SELECT id FROM footprint ORDER BY id DESC LIMIT ?)", (KEPT,)
            )


def _values(key: FootprintKey) -> Sequence[str]:
    return (key.model_sha256, key.engine_sha256, key.options, key.accelerator)


def _footprint(key: FootprintKey, row: tuple[int, int, int | None, int, float | None, float | None]) -> Footprint:
    memory, load_ms, device, launches, *speeds = row
    return Footprint(key, memory, timedelta(milliseconds=load_ms), device, launches, Speeds(*speeds))
