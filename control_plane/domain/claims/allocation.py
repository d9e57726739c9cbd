"""Which claim gets what, and what the others wait for: one pure function over the line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType

from control_plane.domain.claims.claim import Claim, ClaimState, Requirement
from control_plane.domain.claims.fit import Fit, fitting
from control_plane.domain.claims.forecast import Forecast
from control_plane.domain.claims.holds import given
from control_plane.domain.claims.line import Party, Rules, line
from control_plane.domain.claims.objections import of_room
from control_plane.domain.claims.offers import Offer, Offers, promised_at
from control_plane.domain.claims.preemption import Holders
from control_plane.domain.ids import ClaimId, RuntimeId
from control_plane.domain.problem import Problem
from control_plane.domain.steps import Steps, finished


@dataclass(frozen=True, slots=True)
class Grant:
    claim: Claim
    offer: Offer
    """As it was before this grant and those after the ones before it."""
    alternative: int
    until: datetime | None = None
    """When it has to be gone for another, or its window is over."""


@dataclass(frozen=True, slots=True)
class Wait:
    position: int
    """1: the next, among those who wait for the same runtime."""
    problem: Problem
    eta: datetime | None = None
    """When it may have its turn if nobody renews; None: nobody knows."""
    runtime: RuntimeId | None = None
    """None: none serves that would do."""


@dataclass(frozen=True, slots=True)
class Plan:
    grants: tuple[Grant, ...] = ()
    waits: Mapping[ClaimId, Wait] = field(default_factory=dict)
    noticed: tuple[Claim, ...] = ()
    """Holders that are to make room for others, with the notice that they get."""


def allocate(
    waiting: Iterable[Claim],
    holding: Iterable[Claim],
    offers: Iterable[Offer],
    now: datetime,
    *,
    rules: Rules,
    leases: Mapping[ClaimId, datetime] = MappingProxyType({}),
    served: Mapping[Party, datetime] = MappingProxyType({}),
) -> Plan:
    """`allocating`, at one go."""
    return finished(allocating(waiting, holding, offers, now, rules=rules, leases=leases, served=served))


def allocating(
    waiting: Iterable[Claim],
    holding: Iterable[Claim],
    offers: Iterable[Offer],
    now: datetime,
    *,
    rules: Rules,
    leases: Mapping[ClaimId, datetime] = MappingProxyType({}),
    served: Mapping[Party, datetime] = MappingProxyType({}),
) -> Steps[Plan]:
    """Whoever comes first in the line takes what is there. The order of the arguments does not matter.

    Who wants an instance alone keeps those behind it from taking room on it, so that it gets empty.
    `waiting`: queued claims whose time has come, and suspended ones that are to go elsewhere.
    `leases`: when each holder is gone unless it renews. `served`: when each party last got something.
    """
    holders = {claim.id: claim for claim in holding}
    floor = _Floor(Offers(offers), now, Forecast(leases, now), Holders(holders, rules, now))
    yield
    for claim in line(waiting, holders.values(), now, rules, served):
        floor.serve(claim)
        yield
    return Plan(tuple(floor.grants), floor.waits, tuple(floor.holders.noticed))


class _Floor:
    """What is left while the line goes by."""

    def __init__(self, offers: Offers, now: datetime, forecast: Forecast, holders: Holders) -> None:
        self.grants: list[Grant] = []
        self.waits: dict[ClaimId, Wait] = {}
        self._offers = offers
        self._now = now
        self._awaited: set[RuntimeId] = set()
        """Somebody wants each of these alone."""
        self._fits: dict[Requirement, Fit] = {}
        self._forecast = forecast
        self.holders = holders

    def serve(self, claim: Claim) -> None:
        problem: Problem | None = None
        for number, wanted in enumerate(claim.order.alternatives[claim.alternative :], claim.alternative):
            fit = self._fit(wanted)
            chosen = self._choose(claim, fit.serving)
            if chosen is not None:
                self._give(claim, chosen, number)
                return
            problem = problem or fit.problem
            if fit.serving and claim.state is not ClaimState.SUSPENDED:
                self._wait(claim, fit.serving)
                return
        assert problem is not None  # noqa: S101 - each claim has a requirement at least
        self.waits[claim.id] = Wait(self._forecast.next_place(None), problem)

    def _fit(self, wanted: Requirement) -> Fit:
        if wanted not in self._fits:
            self._fits[wanted] = fitting(wanted, self._offers)
        known = self._fits[wanted]
        return replace(known, serving=tuple(self._offers.by_id[offer.runtime.id] for offer in known.serving))

    def _choose(self, claim: Claim, serving: Iterable[Offer]) -> Offer | None:
        """The one with the most room left; the one that was promised before all others."""
        free = [offer for offer in serving if self._is_free(claim, offer)]
        return min(free, key=lambda offer: (offer.runtime.id != claim.booked, -_left(offer)), default=None)

    def _is_free(self, claim: Claim, offer: Offer) -> bool:
        runtime = offer.runtime.id
        open_to = runtime not in self._awaited or runtime == claim.booked
        return open_to and of_room(claim.order, claim.id, offer, self._now) is None

    def _give(self, claim: Claim, offer: Offer, alternative: int) -> None:
        ends = (promised_at(offer, claim.order, claim.id, self._now), claim.order.window.end)
        until = min((end for end in ends if end is not None), default=None)
        self.grants.append(Grant(claim, offer, alternative, until))
        runtime, _ = given(offer.runtime, claim.id, 0, claim.order, until)
        self._offers.put(replace(offer, runtime=runtime))

    def _wait(self, claim: Claim, serving: Sequence[Offer]) -> None:
        target = self._target(claim, serving)
        problem = of_room(claim.order, claim.id, target, self._now) or _behind(target)
        if claim.order.exclusive and not target.has_room(claim.order):
            self._awaited.add(target.runtime.id)
        if not target.has_room(claim.order):
            self.holders.make_room(claim, target)
        eta = self._forecast.turn(target, claim.order)
        self.waits[claim.id] = Wait(self._forecast.next_place(target.runtime.id), problem, eta, target.runtime.id)

    def _target(self, claim: Claim, serving: Sequence[Offer]) -> Offer:
        """By id, so that it stays the same however many come and go, and gets empty; else where it is its turn first.

        Not one that another awaits already, if there is one more.
        """
        if claim.order.exclusive:
            return next((offer for offer in serving if offer.runtime.id not in self._awaited), serving[0])
        return min(serving, key=self._forecast.soonest)


def _behind(offer: Offer) -> Problem:
    text = f"Others who came before wait for runtime {offer.runtime.id}."
    return Problem("IN_USE", text, "Wait, or claim another.", {"runtime": offer.runtime.id})


def _left(offer: Offer) -> int:
    return offer.slots - len(offer.runtime.holds.live) - len(offer.runtime.holds.leaving)
