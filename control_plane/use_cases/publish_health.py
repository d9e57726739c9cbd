from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice

from control_plane.domain.errors import StorageUnavailable
from control_plane.domain.ids import NodeId
from control_plane.domain.matrix import MatrixEntry, MatrixStatus
from control_plane.use_cases import announcements
from control_plane.use_cases.get_matrix import GetMatrix
from control_plane.use_cases.mirror import Changed
from control_plane.use_cases.ports import Clock, Store, Transaction

AT_ONCE = 20
"""Events of one write, which the next change of anybody waits for."""
BREATH = timedelta(milliseconds=5)
"""After each: where many changed, they are about to be told so, which nobody should wait for on account of this."""


class PublishHealth:
    """Append `runtime.health` for each node whose status changed since the last call; returns for how many.

    For one loop. Nodes that changed are looked at in each call, and every `sweep_every` those that time alone changes.
    What was published is kept in memory: after a start every node is published once.
    """

    def __init__(self, get_matrix: GetMatrix, store: Store, clock: Clock, sweep_every: timedelta) -> None:
        self._get_matrix = get_matrix
        self._store = store
        self._clock = clock
        self._sweep_every = sweep_every
        self._swept_at: datetime | None = None
        self._moving: set[NodeId] = set()
        """Of the last sweep: what made them move may be over now."""
        self._touched: set[NodeId] = set()
        self._published: dict[NodeId, tuple[MatrixStatus, dict[str, int]]] = {}
        get_matrix.mirror.on_change(self._changed)
        get_matrix.fleet.on_node(self._touched_in_memory)
        get_matrix.fleet.on_instance(lambda node, _: self._touched_in_memory(node))

    async def __call__(self) -> int:
        mirror = self._get_matrix.mirror
        await mirror.look()
        now = self._clock.now()
        if self._swept_at is None or now - self._swept_at >= self._sweep_every:
            await self._sweep(now)
        left, told = iter(sorted(self._touched)), 0
        while some := tuple(islice(left, AT_ONCE)):
            told += await self._publish(some, now)
            await asyncio.sleep(BREATH.total_seconds())
        return told

    async def _sweep(self, now: datetime) -> None:
        if self._swept_at is None:
            self._touched |= self._get_matrix.mirror.nodes.keys()
        before, self._moving = self._moving, await self._get_matrix.moving()
        self._touched |= before | self._moving
        self._swept_at = now

    async def _publish(self, nodes: Sequence[NodeId], now: datetime) -> int:
        self._touched.difference_update(nodes)
        entries = await self._get_matrix.entries(nodes)
        fresh = [entry for entry in entries.values() if self._published.get(entry.target) != _said(entry)]
        try:
            if fresh:
                await self._store.write(lambda tx: _append(tx, fresh, now))
        except StorageUnavailable:
            self._touched.update(nodes)
            raise
        for node in nodes:
            self._published.pop(node, None)
        self._published.update({node: _said(entry) for node, entry in entries.items()})
        return len(fresh)

    def _changed(self, changed: Changed) -> None:
        self._touched |= changed.nodes | changed.hosts

    def _touched_in_memory(self, node: NodeId) -> None:
        self._touched.add(node)


def _said(entry: MatrixEntry) -> tuple[MatrixStatus, dict[str, int]]:
    return entry.status, entry.runtime.states


def _append(tx: Transaction, fresh: list[MatrixEntry], now: datetime) -> None:
    for entry in fresh:
        tx.journal.append(announcements.node_health(entry, now))
