from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


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
