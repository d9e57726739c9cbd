from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_EVEN = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine sleeps, where the system has one that does."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class EvenClock:
    """The machine's time when this was made, going on evenly from then, whoever sets the clock."""

    def __init__(self) -> None:
        self._made = datetime.now(UTC)
        self._began = time.clock_gettime(_EVEN)

    def now(self) -> datetime:
        return self._made + timedelta(seconds=time.clock_gettime(_EVEN) - self._began)
