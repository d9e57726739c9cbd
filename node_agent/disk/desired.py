"""Desired state on disk."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import structlog

from node_agent.disk.database import Database
from node_agent.disk.high_water import HighWater
from node_agent.domain.errors import StorageUnavailable
from node_agent.domain.spec import InstanceName, InstanceSpec
from node_agent.use_cases.ports import DesiredSnapshot, HeldInstance

_log = structlog.get_logger()


class SqliteDesired:
    def __init__(self, database: Database, high_water: HighWater) -> None:
        self._database = database
        self._high_water = high_water

    def load(self) -> DesiredSnapshot:
        """StorageUnavailable rather than half of it: a missing spec would stop a running engine."""
        with self._database.reading() as connection:
            position = connection.execute("SELECT history_id, revision FROM position").fetchone()
            bodies = connection.execute("SELECT body FROM desired ORDER BY name").fetchall()
            held = connection.execute("SELECT name, until, boot_id, body FROM held ORDER BY name").fetchall()
        history_id, revision = position or ("", 0)
        specs = tuple(_decoded(body) for (body,) in bodies)
        outdated = self._high_water.above(history_id, revision)
        if outdated:
            _log.warning("stored_desired_state_outdated", history=history_id, revision=revision)
        return DesiredSnapshot(history_id, revision, specs, tuple(_held(*row) for row in held), outdated)

    def forget(self) -> None:
        """As if nothing had ever been wanted here: a new identity begins so."""
        with self._database.transaction() as connection:
            for statement in ("DELETE FROM desired", "DELETE FROM position", "DELETE FROM held"):
                connection.execute(statement)

    def apply(
        self,
        history_id: str,
        revision: int | None,
        changed: Sequence[InstanceSpec],
        removed: Sequence[InstanceName],
        held: Sequence[HeldInstance] = (),
    ) -> None:
        with self._database.transaction() as connection:
            rows = [(spec.name, msgspec.json.encode(spec)) for spec in changed]
            connection.executemany("DELETE FROM desired WHERE name = ?", [(name,) for name in removed])
            connection.executemany("INSERT OR REPLACE INTO desired (name, body) VALUES (?, ?)", rows)
            connection.execute("DELETE FROM held")
            connection.executemany("INSERT INTO held (name, until, boot_id, body) VALUES (?, ?, ?, ?)", map(_row, held))
            if revision is not None:
                connection.execute(
                    "INSERT OR REPLACE INTO position (id, history_id, revision) VALUES (1, ?, ?)",
                    (history_id, revision),
                )
        if revision is not None:
            self._high_water.rise(history_id, revision)


def _row(held: HeldInstance) -> tuple[str, float, str, bytes | None]:
    return held.name, held.until, held.boot_id, msgspec.json.encode(held.spec) if held.spec else None


def _held(name: str, until: float, boot_id: str, body: bytes | None) -> HeldInstance:
    return HeldInstance(InstanceName(name), until, boot_id, None if body is None else _decoded(body))


def _decoded(body: bytes) -> InstanceSpec:
    try:
        return msgspec.json.decode(body, type=InstanceSpec)
    except msgspec.DecodeError as error:
        raise StorageUnavailable(
            f"The stored desired state cannot be read: {error}.",
            "Stop the agent, remove agent.db in its state directory and start it again; it is then sent anew.",
        ) from error
