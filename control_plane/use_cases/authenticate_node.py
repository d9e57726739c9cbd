from __future__ import annotations

from dataclasses import dataclass

from control_plane.domain.admission import Presented, refusal
from control_plane.domain.errors import CertificateUnknown
from control_plane.domain.node import Node
from control_plane.use_cases.ports import Clock, Store, Transaction


@dataclass(frozen=True, slots=True)
class AuthenticateNode:
    """Whose certificate this is. CertificateUnknown, -NotActive, -Expired, -Revoked, NodeQuarantined."""

    store: Store
    clock: Clock

    async def __call__(self, presented: Presented) -> Node:
        return await self.store.read(lambda tx: authenticated(tx, presented, self.clock))


def authenticated(tx: Transaction, presented: Presented, clock: Clock) -> Node:
    node = tx.nodes.get(presented.node)
    refused = refusal(node, presented, clock.now())
    if refused:
        raise refused
    if node is None:
        raise CertificateUnknown(f"There is no node {presented.node}.")
    return node
