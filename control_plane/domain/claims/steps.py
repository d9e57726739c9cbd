"""What becomes of one claim as time goes on and the fleet changes. What it may get is for the allocation to say."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from control_plane.domain.claims.claim import Claim, ClaimState, Held
from control_plane.domain.claims.holds import hold_of
from control_plane.domain.claims.objections import not_serving
from control_plane.domain.claims.offers import Offer
from control_plane.domain.claims.states import turned
from control_plane.domain.ids import resource_name
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import DesiredState

CONFIRM_WITHIN = timedelta(seconds=30)
"""A node that has not taken a hold by then does not get it: the claim is queued again."""


@dataclass(frozen=True, slots=True)
class Facts:
    now: datetime
    due: datetime
    """When its lease is over."""
    offer: Offer | None = None
    """Of the runtime that it holds; None: there is no such runtime any more."""
    online: bool = False
    """Whether the node of its hold is there."""
    applied: int = 0
    """The revision that this node has applied."""
    amnesty: bool = False
    """Nodes and holders may not have come back yet: nobody is late."""
    frozen: bool = False
    """Its node fell silent together with many: nothing that it holds is given away."""
    patient_since: datetime | None = None
    """When amnesty or a mass silence last ended: a disruption counts from then on at the earliest."""


def next_step(claim: Claim, facts: Facts) -> Claim | None:
    """The claim as it is next; None: as it is now."""
    if claim.state.over:
        return None
    if (end := _ended(claim, facts)) is not None:
        return end
    if claim.held is None:
        return None
    match claim.state:
        case ClaimState.RESERVED:
            return _confirmed(claim, claim.held, facts)
        case ClaimState.GRANTED:
            problem = disruption(claim.held, facts)
            return turned(claim, ClaimState.SUSPENDED, facts.now, problem=problem) if problem else None
        case _:
            return _recovered(claim, claim.held, facts)


def seeks(claim: Claim, facts: Facts) -> bool:
    """Whether it is to go elsewhere if it can: what it held is gone, or was away for too long."""
    if claim.state is not ClaimState.SUSPENDED or claim.held is None or facts.amnesty or facts.frozen:
        return False
    return is_lost(claim.held, facts) or is_overdue(claim, facts)


def is_overdue(claim: Claim, facts: Facts) -> bool:
    """Whether it was suspended for so long that it ends unless it can go elsewhere."""
    if claim.state is not ClaimState.SUSPENDED or facts.amnesty or facts.frozen:
        return False
    since = max(claim.since, facts.patient_since or claim.since)
    return facts.now - since >= claim.order.max_disruption


def is_lost(held: Held, facts: Facts) -> bool:
    """Whether its hold is gone for good."""
    return facts.offer is None or hold_of(facts.offer.runtime, held.hold.claim) != held.hold


def disruption(held: Held, facts: Facts) -> Problem | None:
    """Why the claim's requests are not answered now."""
    name = held.runtime
    if facts.offer is None:
        text = f"Runtime {name} was deleted."
        return Problem("NOT_FOUND", text, "Declare it again.", {"runtime": resource_name("runtimes", name)})
    if is_lost(held, facts):
        return Problem("NOT_READY", f"Runtime {name} left node {held.node}.", "Wait until it serves elsewhere.")
    if facts.offer.runtime.desired_state is DesiredState.STOPPED:
        return Problem("SHUT_DOWN", f"Runtime {name} was shut down.", f"Start it: `arwctl runtime restore {name}`.")
    if facts.amnesty and not facts.online:
        return None
    return None if facts.online and facts.offer.serves else not_serving(facts.offer)


def _ended(claim: Claim, facts: Facts) -> Claim | None:
    now = facts.now
    if claim.notice is not None and now >= claim.notice.until:
        return turned(claim, ClaimState.REVOKED, now, problem=claim.notice.problem)
    window_end = claim.order.window.end
    over = any(end is not None and now >= end for end in (claim.not_after, window_end))
    late = now >= facts.due and not facts.amnesty
    return turned(claim, ClaimState.EXPIRED, now) if over or late else None


def _confirmed(claim: Claim, held: Held, facts: Facts) -> Claim | None:
    if is_lost(held, facts):
        return turned(claim, ClaimState.QUEUED, facts.now, alternative=0)
    if _lets_in(held, facts):
        return turned(claim, ClaimState.GRANTED, facts.now, problem=None)
    late = facts.now - claim.since >= CONFIRM_WITHIN and not facts.amnesty and not facts.frozen
    return turned(claim, ClaimState.QUEUED, facts.now, alternative=0) if late else None


def _recovered(claim: Claim, held: Held, facts: Facts) -> Claim | None:
    lets_in = disruption(held, facts) is None and _lets_in(held, facts)
    return turned(claim, ClaimState.GRANTED, facts.now, problem=None) if lets_in else None


def _lets_in(held: Held, facts: Facts) -> bool:
    served = facts.offer is not None and facts.offer.serves
    return served and facts.online and facts.applied >= held.hold.revision
