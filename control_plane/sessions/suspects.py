"""Nodes whose identity two agents use."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from control_plane.domain.admission import quarantined
from control_plane.domain.errors import NotFound, StorageUnavailable
from control_plane.domain.ids import NodeId
from control_plane.use_cases.quarantine_node import QuarantineNode
from wire.refusal import Refusal

_log = structlog.get_logger()


class Suspects:
    """`cut` ends every stream of a node."""

    def __init__(self, quarantine: QuarantineNode, cut: Callable[[NodeId, Refusal], None]) -> None:
        self._quarantine = quarantine
        self._cut = cut
        self._waiting: set[NodeId] = set()

    def add(self, node: NodeId) -> None:
        """Quarantine it at the next `settle`."""
        self._waiting.add(node)

    async def settle(self) -> None:
        for node in tuple(self._waiting):
            try:
                await self.quarantine(node)
            except (StorageUnavailable, NotFound) as refused:
                _log.warning("node_not_quarantined", node=node, text=refused.text)
                if isinstance(refused, StorageUnavailable):
                    continue
            self._waiting.discard(node)

    async def quarantine(self, node: NodeId) -> Refusal:
        """What its streams ended with."""
        why = "Two agents used one identity in turn."
        refusal = quarantined(node)
        _log.error("node_quarantined", node=node, why=why)
        await self._quarantine(node, why)
        self._cut(node, refusal)
        return refusal
