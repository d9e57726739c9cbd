from __future__ import annotations

from dataclasses import dataclass, replace

from control_plane.domain.ids import NodeId
from control_plane.domain.node import Node, Standing
from control_plane.domain.node_view import NodeView
from control_plane.use_cases.change_node import change_node
from control_plane.use_cases.ports import Clock, Fleet, Store


@dataclass(frozen=True, slots=True)
class RevokeNode:
    """Refuse a node's certificates for ever; what it ran is placed elsewhere. NotFound.

    Its stream is the caller's to cut, once this has returned.
    """

    store: Store
    fleet: Fleet
    clock: Clock

    async def __call__(self, node: NodeId) -> NodeView:
        return await change_node(self.store, self.fleet, self.clock, node, _revoked, cause="revoked")


def _revoked(node: Node) -> Node:
    """The serials stay, so that a person who asks about the certificate hears the reason."""
    return replace(node, standing=Standing.REVOKED)
