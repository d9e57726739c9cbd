"""The journal's topics of runtimes that leave memory and come back."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from control_plane.domain.event import Event
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import Runtime
from control_plane.use_cases.announcements import of_runtime, problem_json


def hibernated(runtime: Runtime, now: datetime, problem: Problem | None = None) -> Event:
    """It is to leave memory. `problem`: of whoever needs its room."""
    cause = runtime.sleep.cause.value if runtime.sleep else ""
    why = problem_json(problem) if problem else None
    return of_runtime("runtime.hibernate.requested", runtime.id, now, cause=cause, problem=why)


def wake_requested(runtime: Runtime, now: datetime, cause: str, **more: Any) -> Event:
    return of_runtime("runtime.wake.requested", runtime.id, now, cause=cause, **more)


def wake_completed(runtime: Runtime, now: datetime, problem: Problem | None = None) -> Event:
    """There is room, and it starts; or why not."""
    why = problem_json(problem) if problem else None
    return of_runtime("runtime.wake.completed", runtime.id, now, ok=problem is None, problem=why)
