"""What a project asks of the fleet, and how far it has come: a time-limited, fenced hold on an instance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.claims.hold import Hold
from control_plane.domain.ids import ClaimId, NodeId, ProjectId, RuntimeId
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import Modality

DEFAULT_TTL = timedelta(seconds=300)
DEFAULT_DISRUPTION = timedelta(seconds=30)


class ClaimState(StrEnum):
    REQUESTED = "requested"
    QUEUED = "queued"
    RESERVED = "reserved"
    """It has its hold, and the node has yet to say that it lets it in."""
    GRANTED = "granted"
    SUSPENDED = "suspended"
    """What it holds does not serve now."""
    RELEASED = "released"
    EXPIRED = "expired"
    REVOKED = "revoked"
    REJECTED = "rejected"

    @property
    def label(self) -> str:
        return self.value.capitalize()

    @property
    def over(self) -> bool:
        return self in (ClaimState.RELEASED, ClaimState.EXPIRED, ClaimState.REVOKED, ClaimState.REJECTED)

    @property
    def holds(self) -> bool:
        return self in (ClaimState.RESERVED, ClaimState.GRANTED, ClaimState.SUSPENDED)


@dataclass(frozen=True, slots=True)
class Requirement:
    """What an instance must be."""

    model_tag: str
    """Id of a runtime, its display name, or id of its model."""
    min_tokens_per_sec: float = 0.0
    """As measured; 0: any."""
    context_window: int = 0
    """Tokens; 0: any."""
    accelerator: AcceleratorKind = AcceleratorKind.UNSPECIFIED
    """UNSPECIFIED: any."""
    features: tuple[str, ...] = ()
    modality: Modality = Modality.TEXT


@dataclass(frozen=True, slots=True)
class Window:
    """When it is wanted; None: from now on, and for as long as it is renewed."""

    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class RuntimeClaim:
    """What was asked for: two that are equal ask for the same."""

    wanted: Requirement
    exclusive: bool = False
    ttl: timedelta = DEFAULT_TTL
    priority: int = 0
    max_disruption: timedelta = DEFAULT_DISRUPTION
    stop_after: timedelta | None = None
    fallbacks: tuple[Requirement, ...] = ()
    """In the order in which they are taken when what it holds fails."""
    window: Window = Window()

    @property
    def alternatives(self) -> tuple[Requirement, ...]:
        return (self.wanted, *self.fallbacks)


@dataclass(frozen=True, slots=True)
class Held:
    runtime: RuntimeId
    node: NodeId
    hold: Hold
    time: datetime
    """When it got it."""


@dataclass(frozen=True, slots=True)
class Notice:
    """That it will lose its hold to another."""

    until: datetime
    problem: Problem


@dataclass(frozen=True, slots=True)
class Claim:
    id: ClaimId
    project: ProjectId
    order: RuntimeClaim
    create_time: datetime
    state: ClaimState = ClaimState.REQUESTED
    state_time: datetime | None = None
    """Since when it is in its state; None: since it was made."""
    alternative: int = 0
    """Which of its requirements it goes by: 0 is the one that was wanted."""
    held: Held | None = None
    """None exactly while its state holds nothing."""
    not_after: datetime | None = None
    """Renewed or not, it ends then: its window is over, or what it holds was promised to another before it came."""
    booked: RuntimeId | None = None
    """Where it was promised room for its window."""
    notice: Notice | None = None
    problem: Problem | None = None
    """Why it is suspended, or ended against its holder's will."""
    request_id: str = ""
    end_time: datetime | None = None

    @property
    def requirement(self) -> Requirement:
        return self.order.alternatives[self.alternative]

    @property
    def since(self) -> datetime:
        return self.state_time or self.create_time


@dataclass(frozen=True, slots=True)
class Lease:
    """Until when a claim lives without another renewal. Apart from the claim: to renew is no change of intent."""

    id: ClaimId
    expire_time: datetime
    serial: int = 0
    """Grows with each renewal, whatever clocks say."""
