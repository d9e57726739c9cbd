"""How many runtimes a node is given: it tells of all that it has in one message, and looks after each."""

from __future__ import annotations

from control_plane.domain.ids import resource_name
from control_plane.domain.node_view import NodeView
from control_plane.domain.problem import Problem

NODE_FULL = "NODE_FULL"


def crowded(view: NodeView, load: int) -> Problem | None:
    """`load`: how many runtimes have their place there, whether they run or not."""
    if load < view.most_runtimes:
        return None
    return Problem(
        NODE_FULL,
        f"Node {view.node.id} has {view.most_runtimes} runtimes, and no node is given more.",
        "Join another node, or delete runtimes that nobody needs: `arwctl runtime delete`.",
        {"node": resource_name("nodes", view.node.id), "most_runtimes": str(view.most_runtimes)},
    )
