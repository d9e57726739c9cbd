"""How long to wait before the next attempt, so that a thousand agents do not come back as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

FIRST = timedelta(milliseconds=500)
ELSEWHERE = timedelta(seconds=1)
"""The agents of a replica that died come to the others within this."""
DOUBLINGS = 16


@dataclass(slots=True)
class Backoff:
    """Full jitter: U(0, min(cap, 0.5 s · 2ⁿ))."""

    cap: timedelta
    chance: Callable[[], float]
    """Uniform in [0, 1)."""
    failures: int = 0

    def delay(self) -> timedelta:
        growth: int = 1 << min(self.failures, DOUBLINGS)
        ceiling = min(self.cap, FIRST * growth)
        self.failures += 1
        return ceiling * self.chance()

    def elsewhere(self) -> timedelta:
        """Before the first attempt at another replica: U(0, min(cap, 1 s))."""
        return min(self.cap, ELSEWHERE) * self.chance()

    def settled(self) -> None:
        self.failures = 0
