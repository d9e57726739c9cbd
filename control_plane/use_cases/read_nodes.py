from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from control_plane.domain.ids import NodeId
from control_plane.domain.instance import InstanceState
from control_plane.domain.node import Node
from control_plane.domain.node_view import NodeView, Remainder
from control_plane.domain.runtime import DesiredState, Runtime
from control_plane.use_cases.paging import Page, page_of
from control_plane.use_cases.ports import Fleet, Store, Transaction
from control_plane.use_cases.rows import node_of
from control_plane.use_cases.views import node_view, runtime_view

_AT_REST = (InstanceState.OFFLINE, InstanceState.HIBERNATED)


@dataclass(frozen=True, slots=True)
class GetNode:
    """With what has not left it, when it is drained. NotFound."""

    store: Store
    fleet: Fleet

    async def __call__(self, node: NodeId) -> NodeView:
        row, placed = await self.store.read(lambda tx: _read(tx, node))
        view = node_view(row, self.fleet)
        return view if row.drain is None else replace(view, remainders=tuple(self._remainders(row, placed)))

    def _remainders(self, node: Node, placed: Sequence[Runtime]) -> Iterator[Remainder]:
        """What is placed there, unless it is shut down; then what has its place elsewhere and has not ended there."""
        for runtime in placed:
            state = runtime_view(runtime, self.fleet).state
            if runtime.desired_state is DesiredState.RUNNING or state not in _AT_REST:
                yield Remainder(runtime.id, state, placed=True, problem=runtime.stuck)
        known = {runtime.id for runtime in placed}
        for instance in sorted(self.fleet.instances(node.id), key=lambda instance: instance.runtime):
            if instance.runtime not in known and not instance.refused:
                yield Remainder(instance.runtime, instance.state, placed=False)


def _read(tx: Transaction, node: NodeId) -> tuple[Node, Sequence[Runtime]]:
    row = node_of(tx, node)
    return row, [] if row.drain is None else [runtime for runtime in tx.runtimes.all() if runtime.node == node]


@dataclass(frozen=True, slots=True)
class ListNodes:
    """In id order. PageTokenInvalid."""

    store: Store
    fleet: Fleet

    async def __call__(self, page_size: int = 0, page_token: str = "") -> Page[NodeView]:
        page = await self.store.read(lambda tx: page_of(tx.nodes, "nodes", page_size, page_token))
        return Page(tuple(node_view(row, self.fleet) for row in page.items), page.next_token)
