"""What is left of nodes beside what is placed on them, and who may not be there together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from control_plane.domain.ids import ModelId, NodeId
from control_plane.domain.model import Model
from control_plane.domain.node_view import NodeView
from control_plane.domain.placing.crowd import NODE_FULL
from control_plane.domain.placing.memory_room import MemoryRooms
from control_plane.domain.placing.owner_room import OwnerRooms, Placed
from control_plane.domain.placing.set_room import REPLICA_THERE, SetRooms
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import Runtime

ROOM_REASONS = frozenset({"MEMORY_INSUFFICIENT", "LOCAL_POLICY_DENIED", "NO_NODE", NODE_FULL, REPLICA_THERE})
"""Of problems that may end when something leaves a node."""


class Rooms:
    """By the word of their owners, of their memory, and of the sets that runtimes belong to."""

    def __init__(self, models: Mapping[ModelId, Model], placed: Placed) -> None:
        """`placed`: beside those that are put in."""
        self._owners = OwnerRooms(models, placed)
        self._memory = MemoryRooms(models, placed)
        self._sets = SetRooms(placed)

    def put(self, runtime: Runtime, node: NodeId) -> None:
        self._owners.put(runtime, node)
        self._memory.put(runtime, node)
        self._sets.put(runtime, node)

    def apart(self, runtime: Runtime, view: NodeView) -> bool:
        """Whether it may not be where others may, for one of its set is there."""
        return self._sets.objection(runtime, view) is not None

    def objections(self, runtime: Runtime, view: NodeView) -> Iterator[Problem]:
        for room in (self._sets, self._owners, self._memory):
            if (objection := room.objection(runtime, view)) is not None:
                yield objection
