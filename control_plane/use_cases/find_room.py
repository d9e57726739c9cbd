from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from control_plane.domain.ids import NodeId
from control_plane.domain.placing.house import Assignment
from control_plane.domain.placing.placement import placing
from control_plane.domain.placing.residents import woken
from control_plane.domain.placing.situation import Situation
from control_plane.domain.runtime import Runtime
from control_plane.use_cases.circumstances import Circumstances
from control_plane.use_cases.mirror import Mirror
from control_plane.use_cases.ports import Clock, Fleet
from control_plane.use_cases.slices import in_slices
from control_plane.use_cases.strains import Strains
from control_plane.use_cases.views import NodeViews


class FindRoom:
    """A node where a sleeper could run now beside what runs there, by the rules of placement; None: there is none."""

    def __init__(self, mirror: Mirror, fleet: Fleet, clock: Clock, circumstances: Circumstances) -> None:
        self._mirror = mirror
        self._fleet = fleet
        self._clock = clock
        self._circumstances = circumstances
        self._strains = Strains(mirror, fleet)

    async def __call__(self, row: Runtime) -> Assignment | None:
        mirror, load = self._mirror, self._mirror.load()
        if row.node is not None:
            load[row.node] -= 1
        views = NodeViews(dict(mirror.nodes), self._fleet, self._strains.of, self._circumstances)

        def placed(node: NodeId) -> Iterator[Runtime]:
            return (runtime for runtime in mirror.placed(node) if runtime.id != row.id)

        seeker, situation = replace(woken(row), node=None), Situation(self._clock.now())
        (found,) = await in_slices(placing([seeker], dict(mirror.models), views, load, placed, situation=situation))
        return found if found.node not in (None, row.node) else None
