"""Desired state on disk."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from node_agent.disk.database import Database
from node_agent.domain.errors import StorageUnavailable
from node_agent.domain.spec import InstanceName, InstanceSpec
from node_agent.use_cases.ports import DesiredSnapshot


class SqliteDesired:
    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self) -> DesiredSnapshot:
        """StorageUnavailable rather than half of it: a missing spec would stop a running engine."""
        with self._database.reading() as connection:
            position = connection.execute("SELECT history_id, revision FROM position").fetchone()
            bodies = connection.execute("SELECT body FROM desired ORDER BY name").fetchall()
        history_id, revision = position or ("", 0)
        return DesiredSnapshot(history_id, revision, tuple(_decoded(body) for (body,) in bodies))

    def apply(
        self,
        history_id: str,
        revision: int | None,
        changed: Sequence[InstanceSpec],
        removed: Sequence[InstanceName],
    ) -> None:
        with self._database.transaction() as connection:
            rows = [(spec.name, msgspec.json.encode(spec)) for spec in changed]
            connection.executemany("DELETE FROM desired WHERE name = ?", [(name,) for name in removed])
            connection.executemany("INSERT OR REPLACE INTO desired (name, body) VALUES (?, ?)", rows)
            if revision is not None:
                connection.execute(
                    "INSERT OR REPLACE INTO position (id, history_id, revision) VALUES (1, ?, ?)",
                    (history_id, revision),
                )


def _decoded(body: bytes) -> InstanceSpec:
    try:
        return msgspec.json.decode(body, type=InstanceSpec)
    except msgspec.DecodeError as error:
        raise StorageUnavailable(
            f"The stored desired state cannot be read: {error}.",
            "Stop the agent, remove agent.db in its state directory and start it again; it is then sent anew.",
        ) from error
