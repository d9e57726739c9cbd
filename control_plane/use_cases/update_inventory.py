from __future__ import annotations

from dataclasses import dataclass, replace

from control_plane.domain.ids import NodeId
from control_plane.domain.node import NodeInventory
from control_plane.domain.node_view import NodeView
from control_plane.use_cases import announcements
from control_plane.use_cases.ports import Clock, Fleet, Store, Transaction
from control_plane.use_cases.rows import fenced


@dataclass(frozen=True, slots=True)
class UpdateInventory:
    """Store what a connected node's machine is now, and journal it when that is news. SessionSuperseded."""

    store: Store
    fleet: Fleet
    clock: Clock

    async def __call__(self, node: NodeId, epoch: int, inventory: NodeInventory) -> None:
        await self.store.write(lambda tx: self._told(tx, node, epoch, inventory))

    def _told(self, tx: Transaction, name: NodeId, epoch: int, inventory: NodeInventory) -> None:
        before, now = fenced(tx, name, epoch), self.clock.now()
        if before.inventory == inventory:
            return
        node = replace(before, inventory=inventory)
        tx.nodes.put(node)
        view = NodeView(node, self.fleet.liveness(name))
        for event in (announcements.node_advertised(node, now), *announcements.closing(before, view, now)):
            tx.journal.append(event)
