"""A claim and the runtime that it holds, changed together."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from control_plane.domain.claims.allocation import Grant
from control_plane.domain.claims.claim import Claim, ClaimState, Held
from control_plane.domain.claims.hold import Booking
from control_plane.domain.claims.holds import booked, given, settled
from control_plane.domain.claims.objections import of_room
from control_plane.domain.claims.offers import Offer, Offers, can_book
from control_plane.domain.claims.states import turned
from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import Runtime


def reserved(claim: Claim, grant: Grant, node: NodeId, revision: int, now: datetime) -> tuple[Claim, Runtime]:
    """With a hold on what is granted; the caller made sure that there is room, and writes both at `revision`."""
    runtime, hold = given(grant.offer.runtime, claim.id, revision, claim.order, grant.until)
    held = Held(runtime.id, node, hold, now)
    changed = {"held": held, "alternative": grant.alternative, "not_after": grant.until, "booked": None}
    return turned(claim, ClaimState.RESERVED, now, problem=None, **changed), runtime


def still_fits(claim: Claim, offer: Offer, runtime: Runtime, applied: int, now: datetime) -> Offer | None:
    """The offer with the runtime as it is by now; None: it would not do any more."""
    seen = offer.runtime
    if (runtime.node, runtime.generation, runtime.desired_state) != (seen.node, seen.generation, seen.desired_state):
        return None
    current = replace(offer, runtime=settled(runtime, applied, now))
    return current if of_room(claim.order, claim.id, current, now) is None else None


def promised(claim: Claim, runtime: Runtime, start: datetime, end: datetime) -> tuple[Claim, Runtime]:
    """Queued until then, with room booked on the runtime."""
    booking = Booking(claim.id, start, end, claim.order.exclusive)
    return replace(claim, booked=runtime.id), booked(runtime, booking)


def bookable(claim: Claim, candidates: list[Offer], start: datetime, end: datetime) -> RuntimeId | None:
    """The first that still has room to promise for the claim's window."""
    booking = Booking(claim.id, start, end, claim.order.exclusive)
    return next((offer.runtime.id for offer in candidates if can_book(offer, booking)), None)


def all_booked(claim: Claim, offers: Offers) -> Problem:
    tag = claim.order.wanted.model_tag
    names = ", ".join(offer.runtime.id for offer in offers.tagged(tag))
    text = f"All room that would do in this time window is promised to others: {names}."
    return Problem("IN_USE", text, "Ask for another time, or for another model.", {"model_tag": tag})
