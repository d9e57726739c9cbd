"""What is left of nodes beside what is placed on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from control_plane.domain.ids import ModelId, NodeId
from control_plane.domain.memory_room import MemoryRooms
from control_plane.domain.model import Model
from control_plane.domain.node_view import NodeView
from control_plane.domain.owner_room import OwnerRooms, Placed
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import Runtime

ROOM_REASONS = frozenset({"MEMORY_INSUFFICIENT", "LOCAL_POLICY_DENIED", "NO_NODE"})
"""Of problems that may end when something leaves a node."""


class Rooms:
    """By the word of their owners, and of their memory."""

    def __init__(self, models: Mapping[ModelId, Model], placed: Placed) -> None:
        """`placed`: beside those that are put in."""
        self._owners = OwnerRooms(models, placed)
        self._memory = MemoryRooms(models, placed)

    def put(self, runtime: Runtime, node: NodeId) -> None:
        self._owners.put(runtime, node)
        self._memory.put(runtime, node)

    def objections(self, runtime: Runtime, view: NodeView) -> Iterator[Problem]:
        for objection in (self._owners.objection(runtime, view), self._memory.objection(runtime, view)):
            if objection is not None:
                yield objection
