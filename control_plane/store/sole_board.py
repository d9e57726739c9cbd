"""The board of a store that only one process uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

from control_plane.domain.ids import ReplicaId
from control_plane.domain.replica import Place, Replica
from control_plane.use_cases.board import Bulletin, NoteKey
from control_plane.use_cases.ports import Clock

SOLE_TERM = 1
"""Of the one process: nobody ever takes over from it."""


@dataclass(slots=True)
class SoleBoard:
    """Fills the port Board with one replica, which always leads and hears of no other."""

    clock: Clock
    _me: ReplicaId = field(default_factory=lambda: ReplicaId(str(uuid4())))
    _start_time: datetime | None = None

    async def beat(
        self, _notes: Mapping[NoteKey, bytes | None], errands: Sequence[tuple[ReplicaId, bytes]], place: Place
    ) -> Bulletin:
        anew = self._start_time is None
        start = self._start_time = self._start_time or self.clock.now()
        sole = Replica(self._me, place, start, leads=True)
        own = tuple(content for to, content in errands if to == self._me)
        return Bulletin(self._me, (sole,), SOLE_TERM, errands=own, anew=anew, first=True)

    def on_news(self, _listener: Callable[[], None]) -> Callable[[], None]:
        return _nothing

    async def leave(self) -> None:
        self._start_time = None


def _nothing() -> None:
    """There is never any news."""
