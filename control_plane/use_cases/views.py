"""Joining what is stored with what is known in memory. Only on the loop: the fleet lives there."""

from __future__ import annotations

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
    return NodeView(node, fleet.liveness(node.id))
