from __future__ import annotations

from dataclasses import dataclass, replace

from control_plane.domain.errors import CertificateRevoked
from control_plane.domain.ids import NodeId
from control_plane.domain.node import Node, Standing
from control_plane.domain.node_view import NodeView
from control_plane.use_cases.change_node import change_node
from control_plane.use_cases.ports import Clock, Fleet, Store


@dataclass(frozen=True, slots=True)
class ApproveNode:
    """Let a node that waits or is quarantined in. NotFound; CertificateRevoked when it was revoked."""

    store: Store
    fleet: Fleet
    clock: Clock

    async def __call__(self, node: NodeId) -> NodeView:
        return await change_node(self.store, self.fleet, self.clock, node, _approved, cause="approved")


def _approved(node: Node) -> Node:
    if node.standing is Standing.REVOKED:
        raise CertificateRevoked(
            f"Node {node.id} was revoked; approval cannot bring it back.",
            "Make a join token and join it again.",
            node=node.id,
        )
    return replace(node, standing=Standing.ADMITTED)
