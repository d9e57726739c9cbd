"""How long the supervisor waits for what."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

BYTES_PER_STEP = 100_000_000
READ_SLACK = 2
"""An engine reads in smaller pieces than whoever measured."""
SLOWEST_STORAGE = 10
LOAD_SLACK = 3
FIRST_LOOKS = timedelta(milliseconds=20)


@dataclass(frozen=True, slots=True)
class Timers:
    stop_grace: timedelta = timedelta(seconds=10)
    """From SIGTERM to SIGKILL."""
    start_base: timedelta = timedelta(seconds=60)
    start_per_100_mb: timedelta = timedelta(seconds=1)
    ready_poll: timedelta = timedelta(milliseconds=100)
    """The longest pause between two looks at an engine that starts."""
    spawn: timedelta = timedelta(seconds=5)
    """From starting the shim to its run record."""
    probe_period: timedelta = timedelta(seconds=15)
    probe_timeout: timedelta = timedelta(seconds=5)
    probe_misses: int = 3
    """In a row; then the engine is taken to hang."""
    first_byte: timedelta = timedelta(seconds=120)
    """From a request to the first byte of its answer, unless the engine shows that it works."""
    between_bytes: timedelta = timedelta(seconds=60)
    """Of an answer that has begun."""
    good_run: timedelta = timedelta(seconds=10)
    """Ready for this long makes the next restart immediate."""
    backoff_first: timedelta = timedelta(seconds=1)
    backoff_cap: timedelta = timedelta(seconds=60)
    recheck: timedelta = timedelta(seconds=30)
    """Between two looks at what keeps an instance from being started at all."""
    tick: timedelta = timedelta(seconds=30)
    quiet: timedelta = timedelta(seconds=5)
    """Without a request for so long, it is idle, where somebody is to know."""
    unkillable_alarm: timedelta = timedelta(seconds=60)
    """An engine that survives SIGKILL for this long is the whole node's trouble."""
    warm_up: timedelta = timedelta(seconds=120)
    """For all its prompts together."""
    keep_slots: timedelta = timedelta(seconds=10)
    """A planned restart is held up no longer to keep what its slots hold."""
    restore_slots: timedelta = timedelta(seconds=10)

    def ready_pause(self, starting_for: timedelta) -> timedelta:
        """Until the next look: a quick start is seen at once, a long one is left in peace."""
        return min(self.ready_poll, max(FIRST_LOOKS, starting_for / 10))

    def start_deadline(
        self, model_bytes: int, bytes_per_second: int | None = None, slowest_load: timedelta | None = None
    ) -> timedelta:
        """From launch to ready, for a model of this size.

        `bytes_per_second`: what its storage gave lately; a slow one makes the deadline longer, up to ten times the
        part for the size. `slowest_load`: of earlier launches of the same; it is given three times that.
        """
        plain = self.start_per_100_mb * (model_bytes / BYTES_PER_STEP)
        seen = READ_SLACK * timedelta(seconds=model_bytes / bytes_per_second) if bytes_per_second else plain
        deadline = self.start_base + min(max(plain, seen), SLOWEST_STORAGE * plain)
        return deadline if slowest_load is None else max(deadline, LOAD_SLACK * slowest_load)


REAL = Timers()
TEST = Timers(
    stop_grace=timedelta(seconds=1),
    start_base=timedelta(seconds=6),
    ready_poll=timedelta(milliseconds=50),
    probe_period=timedelta(milliseconds=500),
    probe_timeout=timedelta(seconds=1),
    first_byte=timedelta(seconds=6),
    between_bytes=timedelta(seconds=4),
    good_run=timedelta(seconds=1),
    backoff_first=timedelta(milliseconds=100),
    backoff_cap=timedelta(seconds=1),
    recheck=timedelta(seconds=1),
    tick=timedelta(seconds=1),
    quiet=timedelta(milliseconds=200),
    unkillable_alarm=timedelta(seconds=2),
    warm_up=timedelta(seconds=20),
    keep_slots=timedelta(seconds=5),
    restore_slots=timedelta(seconds=5),
)
