from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from control_plane.domain.errors import InvalidArgument, NodeOffline, NothingHeld
from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.node import HeldRemoval
from control_plane.domain.node_view import NodeView
from control_plane.use_cases import announcements
from control_plane.use_cases.once import Request, remember, repeated, request
from control_plane.use_cases.ports import Clock, Fleet, Store, Transaction
from control_plane.use_cases.rows import node_of
from control_plane.use_cases.views import node_view

Removals = tuple[HeldRemoval, ...]


class Guards(Protocol):
    """Reaches the removal guards of connected nodes."""

    def let_through(self, node: NodeId, removals: Sequence[HeldRemoval]) -> bool:
        """Tell the node through its session, and never through a later one. False: it has none."""


@dataclass(frozen=True, slots=True)
class Allowed:
    view: NodeView
    removals: Removals


@dataclass(frozen=True, slots=True)
class AllowRemovals:
    """Let a node stop at once what its guard holds back: of what is named, all that is held as named.

    Journalled, then told; nothing is kept for a later session. To tell a node twice changes nothing, so a repeated
    request is told again.

    NotFound, NodeOffline, NothingHeld, InvalidArgument.
    """

    store: Store
    fleet: Fleet
    clock: Clock
    guards: Guards

    async def __call__(
        self, node: NodeId, removals: Collection[HeldRemoval], operator: str, request_id: str = ""
    ) -> Allowed:
        if not removals:
            raise InvalidArgument("No removal is named.", "Name those that the node shows as held.")
        asked = request("AllowRemovals", request_id, node, sorted((r.runtime, r.spec_revision) for r in removals))
        seen = node_view(await self.store.read(lambda tx: node_of(tx, node)), self.fleet)
        held = tuple(removal for removal in seen.liveness.held if removal in removals)
        allowed = await self.store.write(lambda tx: self._journalled(tx, seen, held, operator, asked))
        if not self.guards.let_through(node, allowed):
            raise _offline(node)
        return Allowed(seen, allowed)

    def _journalled(self, tx: Transaction, seen: NodeView, held: Removals, operator: str, asked: Request) -> Removals:
        before = repeated(tx, asked)
        if before is not None:
            return tuple(HeldRemoval(RuntimeId(runtime), revision) for runtime, revision in json.loads(before))
        _check(seen, held)
        tx.journal.append(announcements.removals_allowed(seen.node, held, operator, self.clock.now()))
        remember(tx, asked, json.dumps([(removal.runtime, removal.spec_revision) for removal in held]).encode())
        return held


def _check(seen: NodeView, held: Removals) -> None:
    if not seen.liveness.online:
        raise _offline(seen.node.id)
    if not held:
        raise NothingHeld(
            f"Node {seen.node.id} holds back none of these removals now.",
            f"See what it holds back: arwctl nodes show {seen.node.id}.",
            node=seen.node.id,
        )


def _offline(node: NodeId) -> NodeOffline:
    return NodeOffline(
        f"Node {node} is not connected, so it cannot be told.",
        "It goes on holding its removals back; allow them once it is connected.",
        node=node,
    )
