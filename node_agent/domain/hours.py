"""When a machine is free for models: windows of the week, told by the clock on the wall of a named place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

WEEK_MINUTES = 7 * 24 * 60
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` until just before `end`, in minutes since Monday 0:00; one that ends earlier goes over Sunday."""

    start: int
    end: int

    def holds(self, minute: int) -> bool:
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


@dataclass(frozen=True, slots=True)
class Hours:
    """The clock decides: an hour that is skipped in spring is no time at all, one that comes twice counts twice."""

    zone: tzinfo
    zone_name: str
    windows: tuple[Window, ...]
    stops: bool = True
    """False: what runs when a window ends goes on until it ends by itself."""

    def is_open(self, now: datetime) -> bool:
        minute = _minute_of_week(now.astimezone(self.zone))
        return any(window.holds(minute) for window in self.windows)

    def next_change(self, now: datetime) -> datetime | None:
        """When a window next opens or closes; None: never."""
        before = self.is_open(now)
        return next((moment for moment in self._edges_after(now) if self.is_open(moment) is not before), None)

    def opening(self, now: datetime) -> str:
        """The end of a sentence, such as "it opens mon 18:00 (Europe/Berlin)"."""
        moment = self.next_change(now)
        if moment is None:
            return "it never opens"
        local = moment.astimezone(self.zone)
        return f"it opens {DAYS[local.weekday()]} {local:%H:%M} ({self.zone_name})"

    def _edges_after(self, now: datetime) -> Iterator[datetime]:
        """In order. The week after next is looked at too, for a clock change may swallow an edge."""
        local = now.astimezone(self.zone)
        monday = local.replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0) - timedelta(days=local.weekday())
        minutes = {minute % WEEK_MINUTES for window in self.windows for minute in (window.start, window.end)}
        walls = (monday + timedelta(weeks=week, minutes=minute) for week in range(3) for minute in minutes)
        edges = {wall.replace(tzinfo=self.zone, fold=fold).astimezone(UTC) for wall in walls for fold in (0, 1)}
        yield from sorted(edge for edge in edges if edge > now)


def _minute_of_week(local: datetime) -> int:
    return (local.weekday() * 24 + local.hour) * 60 + local.minute
