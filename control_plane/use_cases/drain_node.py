from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from control_plane.domain.errors import InvalidArgument
from control_plane.domain.ids import NodeId
from control_plane.domain.node import Drain, Node
from control_plane.domain.node_view import NodeView
from control_plane.use_cases.change_node import told
from control_plane.use_cases.once import Request, remember, repeated, request
from control_plane.use_cases.ports import Clock, Fleet, Store, Transaction
from control_plane.use_cases.rows import match_etag, node_of
from control_plane.use_cases.views import node_view

LONGEST = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class DrainNode:
    """Have everything leave a node, and nothing new come. NotFound, EtagMismatch, InvalidArgument."""

    store: Store
    fleet: Fleet
    clock: Clock

    async def __call__(
        self, node: NodeId, within: timedelta | None = None, etag: str = "", request_id: str = ""
    ) -> NodeView:
        """`within`: what fits nowhere else is stopped after it; None: never, or as an earlier drain said."""
        _check(within)
        asked = request("DrainNode", request_id, node, within, etag)

        def drained(row: Node) -> Node:
            now = self.clock.now()
            drain = row.drain or Drain(now)
            return replace(row, drain=drain if within is None else replace(drain, until=now + within))

        return await _changed(self.store, self.fleet, self.clock, node, _Change(drained, "drain", etag, asked))


@dataclass(frozen=True, slots=True)
class ResumeNode:
    """Let a node that is drained take runtimes again; what left it stays where it is. NotFound, EtagMismatch."""

    store: Store
    fleet: Fleet
    clock: Clock

    async def __call__(self, node: NodeId, etag: str = "", request_id: str = "") -> NodeView:
        asked = request("ResumeNode", request_id, node, etag)
        change = _Change(lambda row: replace(row, drain=None), "drain ended", etag, asked)
        return await _changed(self.store, self.fleet, self.clock, node, change)


@dataclass(frozen=True, slots=True)
class _Change:
    make: Callable[[Node], Node]
    cause: str
    etag: str
    asked: Request


async def _changed(store: Store, fleet: Fleet, clock: Clock, node: NodeId, change: _Change) -> NodeView:
    """Once for each request id; what changes nothing takes no revision."""
    liveness = fleet.liveness(node)

    def changed(tx: Transaction) -> Node:
        before = node_of(tx, node)
        if repeated(tx, change.asked) is not None:
            return before
        match_etag(before.etag, change.etag)
        remember(tx, change.asked)
        after = change.make(before)
        return before if after == before else told(tx, after, liveness, clock, cause=change.cause)

    return node_view(await store.write(changed), fleet)


def _check(within: timedelta | None) -> None:
    if within is not None and not timedelta() <= within <= LONGEST:
        raise InvalidArgument("A drain ends within 0 s to 365 days.", "Give such a time, or none.")
