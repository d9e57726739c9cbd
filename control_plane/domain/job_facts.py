"""What the next step of a job is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from control_plane.domain.problem import Problem
from control_plane.domain.view import RuntimeView


@dataclass(frozen=True, slots=True)
class Facts:
    view: RuntimeView | None
    """None: there is no such runtime any more."""
    now: datetime
    contact: datetime | None = None
    """When the runtime's node was last heard."""
    online: bool = False
    """Whether that node is there."""
    objection: Problem | None = None
    """Of a swap that has not begun: why its place would not do for it."""
    busy: bool = False
    """An earlier job works on the same runtime, and this one may not do so beside it."""
    amnesty: bool = False
    """Nodes may not have come back yet, so that no time limit is over."""
