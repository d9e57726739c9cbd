"""What all replicas' gateways measured, as one."""

from __future__ import annotations

from collections.abc import Iterable

from control_plane.domain.ids import NodeId, ReplicaId
from control_plane.domain.matrix import HttpFigures
from control_plane.use_cases.ports import Traffic


class SharedTraffic:
    """Fills the port Traffic. What other replicas told counts while they live."""

    def __init__(self, own: Traffic) -> None:
        self._own = own
        self._others: dict[NodeId, dict[ReplicaId, HttpFigures]] = {}

    def window(self, node: NodeId) -> HttpFigures | None:
        own = self._own.window(node)
        others = self._others.get(node, {}).values()
        return together([*([own] if own else ()), *others]) if others else own

    def adopt(self, replica: ReplicaId, node: NodeId, figures: HttpFigures | None) -> None:
        """None: the replica has measured nothing lately."""
        of_node = self._others.setdefault(node, {})
        if figures is None:
            of_node.pop(replica, None)
        else:
            of_node[replica] = figures
        if not of_node:
            del self._others[node]

    def alive(self, replicas: Iterable[ReplicaId]) -> None:
        """Forget what any other told."""
        living = set(replicas)
        for node, of_node in tuple(self._others.items()):
            for replica in of_node.keys() - living:
                self.adopt(replica, node, None)


def together(figures: list[HttpFigures]) -> HttpFigures:
    """Sums; the mean is weighted by requests, which comes close: few of them never begin an answer."""
    timed = [each for each in figures if each.mean_first_byte_ms is not None]
    weight = sum(each.hits for each in timed)
    mean = sum((each.mean_first_byte_ms or 0) * each.hits for each in timed) / weight if weight else None
    return HttpFigures(
        max(each.window for each in figures),
        hits=sum(each.hits for each in figures),
        errors=sum(each.errors for each in figures),
        mean_first_byte_ms=mean,
        engine_errors=sum(each.engine_errors for each in figures),
    )
