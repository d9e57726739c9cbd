"""What the journal says of claims."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from control_plane.domain.claims.claim import Claim, ClaimState
from control_plane.domain.event import Event
from control_plane.domain.ids import resource_name
from control_plane.use_cases.announcements import problem_json, stamp

TOPICS = {
    ClaimState.REQUESTED: "runtime.claim.request",
    ClaimState.QUEUED: "runtime.claim.queued",
    ClaimState.RESERVED: "runtime.claim.reserved",
    ClaimState.GRANTED: "runtime.claim.acquired",
    ClaimState.SUSPENDED: "runtime.claim.suspended",
    ClaimState.RELEASED: "runtime.claim.released",
    ClaimState.EXPIRED: "runtime.claim.expired",
    ClaimState.REVOKED: "runtime.claim.revoked",
    ClaimState.REJECTED: "runtime.claim.rejected",
}


def claim_changed(claim: Claim, now: datetime) -> Event:
    """It came into its state."""
    return _event(TOPICS[claim.state], claim, now)


def claim_recovered(claim: Claim, now: datetime) -> Event:
    """What it held all along serves again."""
    return _event("runtime.claim.recovered", claim, now)


def claim_noticed(claim: Claim, now: datetime) -> Event:
    """It will lose what it holds."""
    until = stamp(claim.notice.until) if claim.notice else ""
    return _event("runtime.claim.noticed", claim, now, until=until)


def fallback_engaged(before: Claim, after: Claim, now: datetime) -> Event:
    """It has a hold elsewhere, since what it held before failed."""
    source = before.held.runtime if before.held else ""
    why = problem_json(before.problem) if before.problem else None
    said = f"{source} -> {after.held.runtime if after.held else ''}"
    return _event("runtime.fallback.engaged", after, now, summary=said, previous_runtime=source, cause=why)


def _event(kind: str, claim: Claim, now: datetime, **more: Any) -> Event:
    held = claim.held
    payload = {
        "claim": claim.id,
        "project": claim.project,
        "state": claim.state.value,
        "state_label": claim.state.label,
        "model_tag": claim.requirement.model_tag,
        "modality": claim.requirement.modality.value,
        "exclusive": claim.order.exclusive,
        "priority": claim.order.priority,
        "alternative": claim.alternative,
        "runtime": held.runtime if held else "",
        "node": held.node if held else "",
        "fence": held.hold.fence if held else 0,
        "problem": problem_json(claim.problem) if claim.problem else None,
        "summary": _summary(claim),
        **more,
    }
    return Event(kind, resource_name("claims", claim.id), payload, time=now)


def _summary(claim: Claim) -> str:
    if claim.problem is not None:
        return claim.problem.text
    return f"{claim.held.runtime} on {claim.held.node}" if claim.held else claim.requirement.model_tag
