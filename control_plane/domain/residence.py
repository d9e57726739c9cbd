"""When a runtime is in memory: what its manifest says of it, and how one sleeps that is not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from control_plane.domain.problem import Problem


@dataclass(frozen=True, slots=True)
class Residence:
    on_demand: bool = False
    """Loaded when a request names it, and not before, unless auto_start says so."""
    idle_unload: timedelta | None = None
    """Hibernated after so long without a request; None: never for that."""
    keep_loaded: bool = False
    """Never hibernated to make room for another."""


ALWAYS = Residence()


class SleepCause(StrEnum):
    DECLARED = "declared"
    """Nobody asked for it yet."""
    OPERATOR = "operator"
    IDLE = "idle"
    ROOM = "room"
    """Another one needed its memory."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Of a runtime that is hibernated."""

    since: datetime
    cause: SleepCause
    wake: datetime | None = None
    """When it was asked for; None: nobody waits for it."""
    problem: Problem | None = None
    """While it is asked for, what it waits for; else why it did not wake."""
    failed: datetime | None = None
    """When it did not wake; None: it never failed to in this sleep."""
