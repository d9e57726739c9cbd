"""How every change of intent about a node is written and told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from control_plane.domain.ids import NodeId
from control_plane.domain.node import Liveness, Node
from control_plane.domain.node_view import NodeView
from control_plane.use_cases import announcements
from control_plane.use_cases.ports import Clock, Fleet, Store, Transaction
from control_plane.use_cases.rows import node_of, save_node
from control_plane.use_cases.views import node_view


async def change_node(
    store: Store, fleet: Fleet, clock: Clock, node: NodeId, change: Callable[[Node], Node], **said: Any
) -> NodeView:
    """Write `change` of the node and journal it; a change that changes nothing takes no revision. NotFound."""
    liveness = fleet.liveness(node)

    def changed(tx: Transaction) -> Node:
        before = node_of(tx, node)
        after = change(before)
        return before if after == before else told(tx, after, liveness, clock, **said)

    return node_view(await store.write(changed), fleet)


def told(tx: Transaction, node: Node, liveness: Liveness, clock: Clock, **said: Any) -> Node:
    saved = save_node(tx, node)
    tx.journal.append(announcements.node_changed(NodeView(saved, liveness), clock.now(), **said))
    return saved
