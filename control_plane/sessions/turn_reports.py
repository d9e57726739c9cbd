"""Tells the journal which nodes came and went."""

from __future__ import annotations

import structlog

from control_plane.domain.errors import StorageUnavailable
from control_plane.sessions.fleet import FleetState, Turn
from control_plane.use_cases.report_liveness import LivenessChange, ReportLiveness

_log = structlog.get_logger()


class TurnReports:
    """What cannot be journalled now is journalled later."""

    def __init__(self, fleet: FleetState, report: ReportLiveness) -> None:
        self._fleet = fleet
        self._report = report
        self._unreported: list[Turn] = []

    async def __call__(self) -> None:
        self._unreported += self._fleet.turns()
        if not self._unreported:
            return
        changes = [LivenessChange(turn.node, turn.epoch, turn.online, turn.at, turn.why) for turn in self._unreported]
        try:
            await self._report(changes)
        except StorageUnavailable as refusal:
            # The fleet knows; the journal is told as soon as it can be written.
            _log.warning("liveness_unrecorded", nodes=len(changes), text=refusal.text)
            return
        self._unreported = []
