from __future__ import annotations

from dataclasses import dataclass, replace

from control_plane.domain.ids import NodeId
from control_plane.use_cases.ports import Store, Transaction


@dataclass(frozen=True, slots=True)
class ReportTrust:
    """Record whom a node trusts, by the digest that it told; no change when that is known."""

    store: Store

    async def __call__(self, node: NodeId, digest: str) -> None:
        await self.store.write(lambda tx: _told(tx, node, digest))


def _told(tx: Transaction, node: NodeId, digest: str) -> None:
    row = tx.nodes.get(node)
    if row is not None and row.trust.bundle != digest:
        tx.nodes.put(replace(row, trust=replace(row.trust, bundle=digest)))
