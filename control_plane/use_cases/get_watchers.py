from __future__ import annotations

from dataclasses import dataclass

from control_plane.domain.watcher import Watchers
from control_plane.use_cases.ports import Clock
from control_plane.use_cases.report_watchers import ReportWatchers


@dataclass(frozen=True, slots=True)
class GetWatchers:
    """Whether what is loaded by itself whenever it changes could be loaded."""

    report: ReportWatchers
    clock: Clock

    async def __call__(self) -> Watchers:
        return Watchers(await self.report.seen(), self.clock.now())
