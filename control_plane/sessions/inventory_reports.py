"""How often a node's word on its machine is taken in: each costs a write, and placement looks at all runtimes again."""

from __future__ import annotations

from datetime import datetime

from arw.v1 import node_pb2
from control_plane.domain.errors import RateLimited
from control_plane.messages.nodes import inventory_from_proto
from control_plane.sessions.rules import SessionRules
from control_plane.sessions.steps import Advertise, Step
from control_plane.sessions.token_bucket import TokenBucket


class InventoryReports:
    """What comes too soon waits, the newest in place of older ones."""

    def __init__(self, rules: SessionRules, now: datetime) -> None:
        self._pace = TokenBucket(rules.inventories_at_once, rules.inventory_every, now)
        self._flood = TokenBucket(rules.inventory_flood, rules.inventory_every / rules.inventory_flood, now)
        self._waits: node_pb2.NodeInventory | None = None

    def add(self, inventory: node_pb2.NodeInventory, now: datetime) -> None:
        """RateLimited for a flood."""
        if not self._flood.take(now):
            raise RateLimited(
                "The node floods its stream with inventories.", "See its agent's log; it is let in again after a while."
            )
        self._waits = inventory

    def due(self, now: datetime) -> list[Step]:
        """Call it with each message: what waited has its turn at the next heartbeat at the latest."""
        if self._waits is None or not self._pace.take(now):
            return []
        inventory, self._waits = self._waits, None
        return [Advertise(inventory_from_proto(inventory))]
