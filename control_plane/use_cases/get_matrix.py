from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from control_plane.domain.ids import NodeId
from control_plane.domain.matrix import Matrix, MatrixEntry, entry, ttl_seconds
from control_plane.domain.node import Standing
from control_plane.use_cases.mirror import Mirror
from control_plane.use_cases.ports import Clock, Fleet, Traffic
from control_plane.use_cases.views import node_view, runtime_view

AT_ONCE = 10
"""Entries made before the loop gets its turn: half a millisecond, and what waits for the loop needs it many times."""
GLANCES_AT_ONCE = 200
"""The same for a look at whether an entry has to be made at all."""


@dataclass(frozen=True, slots=True)
class GetMatrix:
    """The health of every node that may come back, in slugs and in words; a revoked one is no longer in the fleet."""

    mirror: Mirror
    fleet: Fleet
    clock: Clock
    traffic: Traffic
    heartbeat: timedelta

    async def __call__(self) -> Matrix:
        await self.mirror.look()
        items = await self.entries(sorted(self.mirror.nodes))
        return Matrix(ttl_seconds(self.heartbeat), self.clock.now(), items)

    async def entries(self, nodes: Iterable[NodeId]) -> dict[NodeId, MatrixEntry]:
        """Of these nodes, as far as they are in the fleet, as of the mirror's last look."""
        left = iter(nodes)
        found: dict[NodeId, MatrixEntry] = {}
        while some := tuple(islice(left, AT_ONCE)):
            found.update({made.target: made for node in some if (made := self._entry(node))})
            await asyncio.sleep(0)
        return found

    async def moving(self) -> set[NodeId]:
        """The nodes whose entries time alone changes: those that are away, and those that answered lately."""
        present, left = set(self.fleet.online()), iter(tuple(self.mirror.nodes))
        found: set[NodeId] = set()
        while some := tuple(islice(left, GLANCES_AT_ONCE)):
            found.update(node for node in some if node not in present or self._answered(node))
            await asyncio.sleep(0)
        return found

    def _answered(self, node: NodeId) -> bool:
        figures = self.traffic.window(node)
        return figures is not None and figures.hits > 0

    def _entry(self, name: NodeId) -> MatrixEntry | None:
        node = self.mirror.nodes.get(name)
        if node is None or node.standing is Standing.REVOKED:
            return None
        placed = [runtime_view(runtime, self.fleet) for runtime in self.mirror.placed(name)]
        return entry(node_view(node, self.fleet), placed, self.traffic.window(name), self.clock.now())
