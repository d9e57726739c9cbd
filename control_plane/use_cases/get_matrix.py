from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from control_plane.domain.ids import NodeId
from control_plane.domain.matrix import Matrix, matrix
from control_plane.domain.node import Node
from control_plane.domain.runtime import Runtime
from control_plane.domain.view import RuntimeView
from control_plane.use_cases.ports import Clock, Fleet, Store, Traffic
from control_plane.use_cases.views import node_view, runtime_view


@dataclass(frozen=True, slots=True)
class GetMatrix:
    """The health of every node, in slugs and in words."""

    store: Store
    fleet: Fleet
    clock: Clock
    traffic: Traffic
    heartbeat: timedelta

    async def __call__(self) -> Matrix:
        nodes, runtimes = await self.store.read(lambda tx: (tx.nodes.all(), tx.runtimes.all()))
        return self._joined(nodes, runtimes)

    def _joined(self, nodes: Sequence[Node], runtimes: Iterable[Runtime]) -> Matrix:
        placed = _by_node(runtime_view(runtime, self.fleet) for runtime in runtimes)
        figures = {node.id: figure for node in nodes if (figure := self.traffic.window(node.id))}
        views = [node_view(node, self.fleet) for node in nodes]
        return matrix(views, placed, figures, self.clock.now(), self.heartbeat)


def _by_node(views: Iterable[RuntimeView]) -> dict[NodeId, list[RuntimeView]]:
    found: dict[NodeId, list[RuntimeView]] = {}
    for view in views:
        if view.runtime.node is not None:
            found.setdefault(view.runtime.node, []).append(view)
    return found
