from __future__ import annotations

from dataclasses import dataclass, field

from control_plane.domain.errors import NodeOffline, NothingHeld
from control_plane.domain.ids import NodeId
from control_plane.domain.node import HeldRemoval, Node
from control_plane.use_cases.allow_removals import AllowRemovals
from control_plane.use_cases.mirror import Mirror
from control_plane.use_cases.ports import Fleet

OPERATOR = "drain"
"""Who is said to have allowed it: whoever drains a node has said that everything is to leave it."""


@dataclass(slots=True)
class ReleaseDrained:
    """Let nodes that are drained stop at once what has left them, large as that part may be. Returns how many.

    Only what is still declared: a removal of anything else is held back on these nodes as on all others. Call it after
    each change of placement and of what nodes hold back.
    """

    mirror: Mirror
    fleet: Fleet
    allow: AllowRemovals
    _told: dict[NodeId, frozenset[tuple[int, HeldRemoval]]] = field(default_factory=dict)
    """With the session in which they were let through: a later one does not know of it."""

    async def __call__(self) -> int:
        drained = [row for row in self.mirror.nodes.values() if row.drain is not None]
        if drained:
            await self.mirror.look()
        return sum([await self._released(row) for row in drained])

    async def _released(self, node: Node) -> int:
        liveness = self.fleet.liveness(node.id)
        left = frozenset((liveness.session_epoch, held) for held in liveness.held if self._has_left(node, held))
        told = self._told.get(node.id, frozenset()) & left
        if left == told or not liveness.online:
            self._told[node.id] = told
            return 0
        try:
            allowed = await self.allow(node.id, {held for _, held in left - told}, OPERATOR)
        except (NodeOffline, NothingHeld):
            # It left meanwhile, or holds them no longer; what it says next is looked at again.
            return 0
        self._told[node.id] = left
        return len(allowed.removals)

    def _has_left(self, node: Node, held: HeldRemoval) -> bool:
        runtime = self.mirror.runtimes.get(held.runtime)
        return runtime is not None and runtime.node != node.id
