"""Joining what is stored with what is known in memory. Only on the loop: the fleet lives there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from control_plane.domain.ids import NodeId
from control_plane.domain.node import Node
from control_plane.domain.node_view import NodeView
from control_plane.domain.placing.merits import strain
from control_plane.domain.runtime import Runtime
from control_plane.domain.view import RuntimeView, view_of
from control_plane.use_cases.circumstances import Circumstances
from control_plane.use_cases.ports import Fleet


def runtime_view(runtime: Runtime, fleet: Fleet) -> RuntimeView:
    if runtime.node is None:
        return view_of(runtime, None, online=False)
    reported = fleet.instance(runtime.node, runtime.id)
    return view_of(runtime, reported, online=fleet.liveness(runtime.node).online)


def strain_of(runtimes: Iterable[Runtime], fleet: Fleet) -> int:
    """`runtimes`: all that are placed on one node."""
    return strain(runtime_view(runtime, fleet) for runtime in runtimes)


def node_view(node: Node, fleet: Fleet) -> NodeView:
    return NodeView(node, fleet.liveness(node.id), fleet.footprints())


class NodeViews(Mapping[NodeId, NodeView]):
    """Views of these nodes as placement sees them now, each made once, when it is first asked for."""

    def __init__(
        self,
        nodes: Mapping[NodeId, Node],
        fleet: Fleet,
        strain: Callable[[NodeId], int],
        circumstances: Circumstances,
    ) -> None:
        self._nodes = nodes
        self._fleet = fleet
        self._strain = strain
        self._circumstances = circumstances
        self._made: dict[NodeId, NodeView] = {}

    def __getitem__(self, node: NodeId) -> NodeView:
        if node not in self._made:
            self._made[node] = NodeView(
                self._nodes[node],
                self._fleet.liveness(node),
                self._fleet.footprints(),
                strain=self._strain(node),
                unsteady_until=self._circumstances.unsteady_until(node),
                most_runtimes=self._circumstances.most_runtimes,
            )
        return self._made[node]

    def __iter__(self) -> Iterator[NodeId]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)
