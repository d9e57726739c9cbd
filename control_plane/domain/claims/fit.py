"""Which runtimes would do for a requirement."""

from __future__ import annotations

from dataclasses import dataclass

from control_plane.domain.claims.claim import Claim, Requirement
from control_plane.domain.claims.objections import lasting, nobody, passing
from control_plane.domain.claims.offers import Offer, Offers
from control_plane.domain.problem import Problem


@dataclass(frozen=True, slots=True)
class Fit:
    serving: tuple[Offer, ...]
    problem: Problem
    """Of the first that does not, or of there being none."""


def fitting(wanted: Requirement, offers: Offers) -> Fit:
    """Of those that would ever do, those that serve as it is wanted."""
    named, fit = offers.tagged(wanted.model_tag), able(wanted, offers)
    serving = tuple(offer for offer in fit if not any(passing(wanted, offer)))
    against = (problem for offer in fit for problem in passing(wanted, offer))
    never = (problem for offer in named for problem in lasting(wanted, offer))
    return Fit(serving, next(against, None) or next(never, None) or nobody(wanted))


def able(wanted: Requirement, offers: Offers) -> list[Offer]:
    """Those that would ever do."""
    return [offer for offer in offers.tagged(wanted.model_tag) if not any(lasting(wanted, offer))]


def impossible(claim: Claim, offers: Offers) -> Problem | None:
    """Why no runtime that is declared would ever do for it; None: one might."""
    problems: list[Problem] = []
    for wanted in claim.order.alternatives:
        named = offers.tagged(wanted.model_tag)
        objections = [next(lasting(wanted, offer), None) for offer in named]
        if any(objection is None for objection in objections):
            return None
        problems.append(next((one for one in objections if one), nobody(wanted)))
    return problems[0]
