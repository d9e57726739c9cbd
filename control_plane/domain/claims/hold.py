"""Who may use an instance: what its node lets through."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from control_plane.domain.ids import ClaimId


@dataclass(frozen=True, slots=True)
class Hold:
    claim: ClaimId
    fence: int
    revision: int
    """At which it came into what its node is to do: once the node has applied that, it lets the claim's requests in."""
    exclusive: bool = False
    until: datetime | None = None
    """It ends then, renewed or not."""
    stop_after: timedelta | None = None
    """How long its node may be without contact before the instance is stopped; None: for ever."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """A hold that was taken away. Its room is free once the node has applied that, or the lock delay is over."""

    hold: Hold
    revision: int
    """At which it was taken away."""
    until: datetime


@dataclass(frozen=True, slots=True)
class Booking:
    """Room that a claim was promised for later."""

    claim: ClaimId
    start: datetime
    end: datetime
    exclusive: bool = False


@dataclass(frozen=True, slots=True)
class Holds:
    live: tuple[Hold, ...] = ()
    leaving: tuple[Leaving, ...] = ()
    bookings: tuple[Booking, ...] = ()
    last_fence: int = 0
    """The highest that any hold of the runtime ever had, the system's aside."""
