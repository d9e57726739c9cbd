"""Clocks that tests turn."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@dataclass(slots=True)
class FakeClock:
    """Stands still until it is told to go on."""

    time: datetime = NOON

    def now(self) -> datetime:
        return self.time

    def advance(self, by: timedelta) -> None:
        self.time += by


@dataclass(slots=True)
class SetClock:
    """The machine's own, put forward or back."""

    by: timedelta = field(default=timedelta())

    def now(self) -> datetime:
        return datetime.now(UTC) + self.by
