from __future__ import annotations

from dataclasses import dataclass, replace

from control_plane.domain.ids import NodeId
from control_plane.domain.node import Node, Standing
from control_plane.domain.node_view import NodeView
from control_plane.use_cases.change_node import change_node
from control_plane.use_cases.ports import Clock, Fleet, Store


@dataclass(frozen=True, slots=True)
class QuarantineNode:
    """Refuse both of two agents that use one identity; what runs is left alone. NotFound.

    When to do it, and cutting the streams, is the caller's.
    """

    store: Store
    fleet: Fleet
    clock: Clock

    async def __call__(self, node: NodeId, why: str) -> NodeView:
        return await change_node(self.store, self.fleet, self.clock, node, _quarantined, cause=why)


def _quarantined(node: Node) -> Node:
    admitted = node.standing is Standing.ADMITTED
    return replace(node, standing=Standing.QUARANTINED) if admitted else node
