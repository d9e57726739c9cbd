from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence

from control_plane.domain.ids import NodeId
from control_plane.domain.steps import Steps


class Seats:
    """Nodes that fit, the best first. Only loads change while placing, so a stale cost is put right when it is met."""

    def __init__(
        self, bonus: Mapping[NodeId, int], load: Mapping[NodeId, int], taken: Sequence[NodeId], *, packs: bool
    ) -> None:
        """`taken` names each node whose load grew; `packs`: the more there are, the better."""
        self.offered = len(bonus)
        self._bonus = dict(bonus)
        self._load = load
        self._taken = taken
        self._seen = len(taken)
        self._sign = -1 if packs else 1
        self._heap = [(self._cost(node), node) for node in bonus]
        heapq.heapify(self._heap)

    def best(
        self, has_room: Callable[[NodeId], bool], apart: Callable[[NodeId], bool] = lambda _: False
    ) -> Steps[NodeId | None]:
        """A node without room is left out from then on: none gets room while placing. `apart`: not for this one."""
        aside: list[tuple[int, NodeId]] = []
        node = yield from self._best(has_room, apart, aside)
        for left in aside:
            heapq.heappush(self._heap, left)
        return node

    def _best(
        self, has_room: Callable[[NodeId], bool], apart: Callable[[NodeId], bool], aside: list[tuple[int, NodeId]]
    ) -> Steps[NodeId | None]:
        self._look()
        while self._heap:
            cost, node = self._heap[0]
            if node not in self._bonus:
                heapq.heappop(self._heap)
            elif apart(node):
                aside.append(heapq.heappop(self._heap))
            elif (current := self._cost(node)) != cost:
                heapq.heapreplace(self._heap, (current, node))
            elif has_room(node):
                return node
            else:
                del self._bonus[node]
            yield
        return None

    def _look(self) -> None:
        """What got better since is not at the top by itself; what got worse sinks when it is met."""
        if self._sign < 0:
            for node in self._taken[self._seen :]:
                if node in self._bonus:
                    heapq.heappush(self._heap, (self._cost(node), node))
        self._seen = len(self._taken)

    def _cost(self, node: NodeId) -> int:
        return self._sign * self._load.get(node, 0) - self._bonus[node]
