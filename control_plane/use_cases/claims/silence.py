from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from control_plane.domain.ids import NodeId
from control_plane.domain.node_view import NodeView
from control_plane.domain.placing.situation import mass_silence
from control_plane.domain.steps import Steps
from control_plane.use_cases.claims.facts import Sight
from control_plane.use_cases.mirror import Changed
from control_plane.use_cases.ports import Clock
from control_plane.use_cases.slices import in_slices
from control_plane.use_cases.views import node_view


class ClaimSilence:
    """Which nodes fell silent together with many: nothing that is held there is given away. Only on the loop."""

    def __init__(self, sight: Sight, clock: Clock) -> None:
        self.nodes: Collection[NodeId] = frozenset()
        self.over: datetime | None = None
        """When the last mass silence ended, as far as this process saw."""
        self._sight = sight
        self._clock = clock
        self._stale = True
        sight.fleet.on_node(self._turned)
        sight.mirror.on_change(self._heard)

    async def look(self) -> None:
        """Costs nothing while no node came or went."""
        if not self._stale:
            return
        self._stale = False
        views = await in_slices(self._views())
        silence = mass_silence(views)
        if self.nodes and silence is None:
            self.over = self._clock.now()
        self.nodes = frozenset(silence.nodes) if silence is not None else frozenset()
        # Of whom nobody knows yet whether it is silent, nobody will tell when that is known.
        self._stale = self._stale or any(_is_open(view) for view in views)

    def _views(self) -> Steps[list[NodeView]]:
        views = []
        for node in tuple(self._sight.mirror.nodes.values()):
            views.append(node_view(node, self._sight.fleet))
            yield
        return views

    def _turned(self, _node: NodeId) -> None:
        self._stale = True

    def _heard(self, changed: Changed) -> None:
        self._stale = self._stale or bool(changed.nodes)


def _is_open(view: NodeView) -> bool:
    return not view.liveness.online and view.liveness.offline_since is None and view.node.session_epoch > 0
