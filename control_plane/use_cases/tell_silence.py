from __future__ import annotations

from control_plane.domain.placing.situation import MassSilence
from control_plane.use_cases import announcements
from control_plane.use_cases.ports import Clock, Store, Transaction


class TellSilence:
    """Journal when placement begins to hold still for a mass silence, and when it goes on. Each once, whoever leads."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._told: bool | None = None
        """None: the journal has to say what was told before this process led."""

    async def __call__(self, silence: MassSilence | None) -> None:
        if self._told is None:
            self._told = await self._store.read(_told)
        held = silence is not None
        if held != self._told:
            changed = announcements.placement_changed(silence, self._clock.now())
            await self._store.write(lambda tx: tx.journal.append(changed))
            self._told = held


def _told(tx: Transaction) -> bool:
    before = tx.journal.newest((announcements.PLACEMENT_CHANGED,), 1)
    return bool(before and before[-1].payload["held"])
