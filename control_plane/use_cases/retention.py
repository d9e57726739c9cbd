from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

Name = TypeVar("Name", bound=str)


@dataclass(frozen=True, slots=True)
class Retention:
    """For how long what ended is kept, and how many at the most."""

    kept_for: timedelta
    kept: int

    def outlived(self, ended: Iterable[tuple[datetime | None, Name]], now: datetime) -> list[Name]:
        """Names of what is to be forgotten. `ended`: with None for what has not ended."""
        newest = sorted(((end, name) for end, name in ended if end is not None), reverse=True)
        return [name for place, (end, name) in enumerate(newest) if place >= self.kept or now - end > self.kept_for]
