"""How long to wait before an automatic restart."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from node_agent.domain.timers import Timers

SPREAD = 0.2
MAX_DOUBLINGS = 30


@dataclass(frozen=True, slots=True)
class Backoff:
    """The wait, and how many failures in a row now count against the next one."""

    delay: timedelta
    failures: int


def backoff(failures: int, ready_for: timedelta, timers: Timers, chance: float) -> Backoff:
    """After a good run at once; else 1, 2, 4 … 60 s. `chance` in [0, 1) spreads each wait by 20 % either way."""
    if ready_for >= timers.good_run:
        return Backoff(timedelta(), 0)
    plain = min(timers.backoff_cap, timers.backoff_first * 2 ** min(failures, MAX_DOUBLINGS))
    return Backoff(plain * (1 - SPREAD + 2 * SPREAD * chance), failures + 1)
