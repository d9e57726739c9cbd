"""How long to wait before the next attempt, so that a thousand agents do not come back as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

FIRST = timedelta(milliseconds=500)
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

    def settled(self) -> None:
        self.failures = 0
