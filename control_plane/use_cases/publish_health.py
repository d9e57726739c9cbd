from __future__ import annotations

from datetime import datetime

from control_plane.domain.ids import NodeId
from control_plane.domain.matrix import Matrix, MatrixEntry, MatrixStatus
from control_plane.use_cases import announcements
from control_plane.use_cases.get_matrix import GetMatrix
from control_plane.use_cases.ports import Store, Transaction


class PublishHealth:
    """Append `runtime.health` for each node whose status changed since the last call; returns for how many.

    For one loop. What was published is kept in memory: after a start every node is published once.
    """

    def __init__(self, get_matrix: GetMatrix, store: Store) -> None:
        self._get_matrix = get_matrix
        self._store = store
        self._published: dict[NodeId, tuple[MatrixStatus, dict[str, int]]] = {}

    async def __call__(self) -> int:
        matrix = await self._get_matrix()
        fresh = [entry for entry in matrix.items.values() if self._published.get(entry.target) != _said(entry)]
        if fresh:
            await self._store.write(lambda tx: _append(tx, fresh, matrix.update_time))
        self._published = _all_said(matrix)
        return len(fresh)


def _said(entry: MatrixEntry) -> tuple[MatrixStatus, dict[str, int]]:
    return entry.status, entry.runtime.states


def _all_said(matrix: Matrix) -> dict[NodeId, tuple[MatrixStatus, dict[str, int]]]:
    return {node: _said(entry) for node, entry in matrix.items.items()}


def _append(tx: Transaction, fresh: list[MatrixEntry], now: datetime) -> None:
    for entry in fresh:
        tx.journal.append(announcements.node_health(entry, now))
