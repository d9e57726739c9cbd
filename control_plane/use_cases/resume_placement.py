from __future__ import annotations

from dataclasses import dataclass, replace

from control_plane.domain.ids import NodeId
from control_plane.domain.node import Node
from control_plane.domain.node_view import NodeView
from control_plane.domain.placing.situation import mass_silence
from control_plane.use_cases.change_node import told
from control_plane.use_cases.ports import Clock, Fleet, Store, Transaction
from control_plane.use_cases.views import node_view


@dataclass(frozen=True, slots=True)
class ResumePlacement:
    """Give up the nodes for whose silence nothing is moved, so that what may leave them does. Idempotent.

    The word counts for each of them until it is heard again, and survives a restart. None at all: nothing was held.
    """

    store: Store
    fleet: Fleet
    clock: Clock

    async def __call__(self) -> tuple[NodeView, ...]:
        views = [node_view(node, self.fleet) for node in await self.store.read(lambda tx: tx.nodes.all())]
        silence = mass_silence(views)
        silent = [view for view in views if silence is not None and view.node.id in silence.nodes]
        rows = await self.store.write(lambda tx: [self._given_up(tx, view) for view in silent]) if silent else []
        return tuple(node_view(row, self.fleet) for row in rows if row is not None)

    def _given_up(self, tx: Transaction, view: NodeView) -> Node | None:
        """None: it connected meanwhile, or is no more."""
        row = tx.nodes.get(NodeId(view.node.id))
        if row is None or row.session_epoch != view.node.session_epoch:
            return None
        given_up = replace(row, given_up_epoch=row.session_epoch)
        return told(tx, given_up, view.liveness, self.clock, cause="given up")
