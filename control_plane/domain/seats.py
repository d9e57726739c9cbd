from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from control_plane.domain.ids import NodeId
from control_plane.domain.problem import Problem


@dataclass(slots=True)
class Seats:
    """Nodes that fit, the best first. Loads only grow while placing, so a stale cost is put right when it is met."""

    heap: list[tuple[int, NodeId, int]]
    """(load less bonus, node, bonus)."""
    problem: Problem | None = None
    """Why there are none, or none any more; None before somebody found none."""

    @classmethod
    def of(cls, fit: Iterable[tuple[NodeId, int]]) -> Self:
        seats = cls([(-bonus, node, bonus) for node, bonus in fit])
        heapq.heapify(seats.heap)
        return seats

    def best(self, load: Mapping[NodeId, int], has_room: Callable[[NodeId], bool]) -> NodeId | None:
        """A node without room is left out from then on: none gets room while placing."""
        while self.heap:
            cost, node, bonus = self.heap[0]
            current = load.get(node, 0) - bonus
            if current != cost:
                heapq.heapreplace(self.heap, (current, node, bonus))
            elif has_room(node):
                return node
            else:
                heapq.heappop(self.heap)
        return None
