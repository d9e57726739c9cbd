"""How long the supervisor waits for what."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

BYTES_PER_STEP = 100_000_000


@dataclass(frozen=True, slots=True)
class Timers:
    stop_grace: timedelta = timedelta(seconds=10)
    """From SIGTERM to SIGKILL."""
    start_base: timedelta = timedelta(seconds=60)
    start_per_100_mb: timedelta = timedelta(seconds=1)
    ready_poll: timedelta = timedelta(milliseconds=100)
    spawn: timedelta = timedelta(seconds=5)
    """From starting the shim to its run record."""
    probe_period: timedelta = timedelta(seconds=15)
    probe_timeout: timedelta = timedelta(seconds=5)
    probe_misses: int = 3
    """In a row; then the engine is taken to hang."""
    good_run: timedelta = timedelta(seconds=10)
    """Ready for this long makes the next restart immediate."""
    backoff_first: timedelta = timedelta(seconds=1)
    backoff_cap: timedelta = timedelta(seconds=60)
    recheck: timedelta = timedelta(seconds=30)
    """Between two looks at what keeps an instance from being started at all."""
    tick: timedelta = timedelta(seconds=30)

    def start_deadline(self, model_bytes: int) -> timedelta:
        """From launch to ready, for a model of this size."""
        return self.start_base + self.start_per_100_mb * (model_bytes / BYTES_PER_STEP)


REAL = Timers()
TEST = Timers(
    stop_grace=timedelta(seconds=1),
    start_base=timedelta(seconds=6),
    ready_poll=timedelta(milliseconds=50),
    probe_period=timedelta(milliseconds=500),
    probe_timeout=timedelta(seconds=1),
    good_run=timedelta(seconds=1),
    backoff_first=timedelta(milliseconds=100),
    backoff_cap=timedelta(seconds=1),
    recheck=timedelta(seconds=1),
    tick=timedelta(seconds=1),
)
