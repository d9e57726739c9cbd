"""No two of a set share a node: the death of one is to cost no more than one."""

from __future__ import annotations

from control_plane.domain.ids import NodeId, RuntimeId, resource_name
from control_plane.domain.node_view import NodeView
from control_plane.domain.placing.owner_room import Placed
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import Runtime
from control_plane.domain.runtime_set import set_of

REPLICA_THERE = "REPLICA_THERE"


class SetRooms:
    """Which sets each node has one of, looked up for a node when it is first asked for."""

    def __init__(self, placed: Placed) -> None:
        """`placed`: beside those that are put in."""
        self._placed = placed
        self._there: dict[NodeId, dict[RuntimeId, RuntimeId]] = {}
        """By node, then by set: the one that is there."""

    def put(self, runtime: Runtime, node: NodeId) -> None:
        head = set_of(runtime)
        if head is not None:
            self._on(node)[head] = runtime.id

    def objection(self, runtime: Runtime, view: NodeView) -> Problem | None:
        head = set_of(runtime)
        there = self._on(view.node.id).get(head) if head is not None else None
        if head is None or there is None or there == runtime.id:
            return None
        return Problem(
            REPLICA_THERE,
            f"Node {view.node.id} has a replica of {head} already: {there}.",
            f"Join another node, or ask for fewer: `arwctl runtime scale {head} N`.",
            {"node": resource_name("nodes", view.node.id), "runtime": there, "replica_of": head},
        )

    def _on(self, node: NodeId) -> dict[RuntimeId, RuntimeId]:
        if node not in self._there:
            found = ((set_of(runtime), runtime.id) for runtime in self._placed(node))
            self._there[node] = {head: runtime for head, runtime in found if head is not None}
        return self._there[node]
