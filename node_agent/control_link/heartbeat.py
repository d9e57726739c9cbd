"""When to send a heartbeat, and when its silence means that the path is dead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

JITTER = 0.1
UNANSWERED_PERIODS = 2


@dataclass(slots=True)
class HeartbeatClock:
    """Times are seconds of one monotonic clock."""

    period: timedelta
    chance: Callable[[], float]
    """Uniform in [0, 1)."""
    due: float
    _deadline: float | None = None
    """When the oldest unanswered heartbeat, sent or not, has waited too long."""
    _oldest: int = 0
    """Seq of the oldest unanswered heartbeat; 0: none was sent."""
    _newest: int = 0
    _lateness: float = 0.0

    def fired(self, now: float) -> None:
        """A heartbeat became due. One that cannot even be written is as good as unanswered."""
        self._lateness = max(self._lateness, now - self.due)
        spread = 1 + JITTER * (2 * self.chance() - 1)
        self.due = now + self.period.total_seconds() * spread
        if self._deadline is None:
            self._deadline = now + UNANSWERED_PERIODS * self.period.total_seconds()

    def sent(self, seq: int) -> None:
        self._newest = seq
        self._oldest = self._oldest or seq

    def answered(self, seq: int, period: timedelta | None) -> bool:
        """True when it answers one of ours; an invented answer counts for nothing."""
        if not self._oldest or not self._oldest <= seq <= self._newest:
            return False
        self._oldest, self._deadline = 0, None
        if period is not None and period > timedelta():
            self.period = period
        return True

    def silent(self, now: float) -> bool:
        return self._deadline is not None and now >= self._deadline

    def next_event(self) -> float:
        return self.due if self._deadline is None else min(self.due, self._deadline)

    def take_lateness(self) -> timedelta:
        """How late this agent's own timers fired since the last heartbeat."""
        lateness, self._lateness = self._lateness, 0.0
        return timedelta(seconds=lateness)
