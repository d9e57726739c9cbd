"""How much of what the owners of nodes give to runtimes is taken, counted as the nodes count it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from control_plane.domain.ids import ModelId, NodeId
from control_plane.domain.model import Model
from control_plane.domain.node import LocalLimits
from control_plane.domain.node_view import NodeView
from control_plane.domain.placing.memory_need import estimated
from control_plane.domain.placing.owner_objections import denied
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import DesiredState, Runtime

Placed = Callable[[NodeId], Iterable[Runtime]]
"""The runtimes on a node."""


@dataclass(frozen=True, slots=True)
class Taken:
    """By runtimes that are to run."""

    runtimes: int = 0
    memory_bytes: int = 0

    def __add__(self, other: Taken) -> Taken:
        return Taken(self.runtimes + other.runtimes, self.memory_bytes + other.memory_bytes)


class OwnerRooms:
    """What is taken of each node. Only nodes whose owners limit it are ever counted."""

    def __init__(self, models: Mapping[ModelId, Model], placed: Placed) -> None:
        """`placed`: beside those that are put in."""
        self._models = models
        self._placed = placed
        self._before: dict[NodeId, Taken] = {}
        self._put: dict[NodeId, Taken] = {}

    def put(self, runtime: Runtime, node: NodeId) -> None:
        self._put[node] = self._put.get(node, Taken()) + self._by(runtime)

    def objection(self, runtime: Runtime, view: NodeView) -> Problem | None:
        """Why the owner of this node would not let it run beside what is placed there; None: it may."""
        limits = view.node.inventory.limits
        if not is_limited(limits) or runtime.desired_state is not DesiredState.RUNNING:
            return None
        taken, wanted = self._taken(view.node.id), self._by(runtime)
        if limits.max_runtimes is not None and taken.runtimes >= limits.max_runtimes:
            text = f"Node {view.node.id} has the {limits.max_runtimes} runtimes that its owner lets run at once."
            return denied(view, "max_runtimes", text)
        if limits.memory_bytes is not None and taken.memory_bytes + wanted.memory_bytes > limits.memory_bytes:
            text = (
                f"Model {runtime.spec.model} needs about {_mib(wanted.memory_bytes)} MiB; less is left of the "
                f"{_mib(limits.memory_bytes)} MiB that the owner of node {view.node.id} gives to all runtimes together."
            )
            return denied(view, "memory.total", text)
        return None

    def _taken(self, node: NodeId) -> Taken:
        if node not in self._before:
            self._before[node] = sum(map(self._by, self._placed(node)), Taken())
        return self._before[node] + self._put.get(node, Taken())

    def _by(self, runtime: Runtime) -> Taken:
        if runtime.desired_state is not DesiredState.RUNNING:
            return Taken()
        return Taken(1, estimated(self._models.get(runtime.spec.model)))


def is_limited(limits: LocalLimits) -> bool:
    return limits.max_runtimes is not None or limits.memory_bytes is not None


def _mib(size: int) -> int:
    return -(-size // 2**20)
