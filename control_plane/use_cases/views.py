"""Joining what is stored with what is known in memory. Only on the loop: the fleet lives there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from control_plane.domain.ids import NodeId
from control_plane.domain.node import Node
from control_plane.domain.node_view import NodeView
from control_plane.domain.runtime import Runtime
from control_plane.domain.view import RuntimeView, view_of
from control_plane.use_cases.ports import Fleet


def runtime_view(runtime: Runtime, fleet: Fleet) -> RuntimeView:
    if runtime.node is None:
        return view_of(runtime, None, online=False)
    reported = fleet.instance(runtime.node, runtime.id)
    return view_of(runtime, reported, online=fleet.liveness(runtime.node).online)


def node_view(node: Node, fleet: Fleet) -> NodeView:
    return NodeView(node, fleet.liveness(node.id), fleet.footprints())


class NodeViews(Mapping[NodeId, NodeView]):
    """Views of these nodes, each made when it is asked for."""

    def __init__(self, nodes: Mapping[NodeId, Node], fleet: Fleet) -> None:
        self._nodes = nodes
        self._fleet = fleet

    def __getitem__(self, node: NodeId) -> NodeView:
        return node_view(self._nodes[node], self._fleet)

    def __iter__(self) -> Iterator[NodeId]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)
