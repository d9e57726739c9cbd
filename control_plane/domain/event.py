from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any


@dataclass(frozen=True, slots=True)
class EventsKept:
    """What the journal holds at most; the oldest beyond either are forgotten."""

    age: timedelta = timedelta(days=30)
    rows: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Event:
    """A journal row. `id` is 0 until the store gives one."""

    kind: str
    """dot.case topic."""
    subject: str
    payload: dict[str, Any] = field(default_factory=dict)
    """JSON values only; never a secret."""
    id: int = 0
    time: datetime | None = None
    key: str = ""
    """Tells a repeat: no other event of any history has it. Empty until it is read for somebody."""


def keyed(events: Iterable[Event], history_id: str) -> tuple[Event, ...]:
    """Ids alone are of one history: another database may begin anew."""
    return tuple(replace(event, key=f"{history_id}/{event.id}") for event in events)
