from __future__ import annotations

from dataclasses import dataclass, replace

from control_plane.domain.ids import NodeId
from control_plane.domain.node import NodeInventory
from control_plane.use_cases import announcements
from control_plane.use_cases.ports import Clock, Store, Transaction
from control_plane.use_cases.rows import fenced


@dataclass(frozen=True, slots=True)
class UpdateInventory:
    """Store what a connected node's machine is now, and journal it when that is news. SessionSuperseded."""

    store: Store
    clock: Clock

    async def __call__(self, node: NodeId, epoch: int, inventory: NodeInventory) -> None:
        await self.store.write(lambda tx: self._told(tx, node, epoch, inventory))

    def _told(self, tx: Transaction, name: NodeId, epoch: int, inventory: NodeInventory) -> None:
        node = fenced(tx, name, epoch)
        if node.inventory == inventory:
            return
        node = replace(node, inventory=inventory)
        tx.nodes.put(node)
        tx.journal.append(announcements.node_advertised(node, self.clock.now()))
