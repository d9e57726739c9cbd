from __future__ import annotations

from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.use_cases.mirror import Changed, Mirror
from control_plane.use_cases.ports import Fleet
from control_plane.use_cases.views import strain_of


class Strains:
    """How ill what is placed on each node does; reckoned again only where something changed."""

    def __init__(self, mirror: Mirror, fleet: Fleet) -> None:
        self._mirror = mirror
        self._fleet = fleet
        self._known: dict[NodeId, int] = {}
        mirror.on_change(self._changed)
        fleet.on_instance(self._heard)

    def of(self, node: NodeId) -> int:
        if node not in self._known:
            self._known[node] = strain_of(self._mirror.placed(node), self._fleet)
        return self._known[node]

    def _changed(self, changed: Changed) -> None:
        for node in changed.hosts:
            self._known.pop(node, None)

    def _heard(self, node: NodeId, _runtime: RuntimeId) -> None:
        self._known.pop(node, None)
