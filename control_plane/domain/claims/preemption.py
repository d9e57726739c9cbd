"""Who makes room for whom, where the rules say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from control_plane.domain.claims.claim import Claim, Notice
from control_plane.domain.claims.line import Rules
from control_plane.domain.claims.offers import Offer
from control_plane.domain.ids import ClaimId
from control_plane.domain.problem import Problem


class Holders:
    """All who hold something, and who of them is told to go while the line goes by."""

    def __init__(self, known: Mapping[ClaimId, Claim], rules: Rules, now: datetime) -> None:
        self.noticed: list[Claim] = []
        self._known = known
        self._rules = rules
        self._now = now
        self._going = {claim.id for claim in known.values() if claim.notice is not None}

    def make_room(self, claim: Claim, offer: Offer) -> None:
        """Tell those to go whom the claim may drive from the runtime; nobody, when that would not make room for it."""
        if self._rules.preempt_margin is None or offer.runtime.holds.leaving:
            return
        on_it = [self._known[hold.claim] for hold in offer.runtime.holds.live if hold.claim in self._known]
        going = [one for one in on_it if one.id in self._going]
        victims = self._victims(claim, on_it, self._rules.preempt_margin)
        if going or not victims or (claim.order.exclusive and len(victims) < len(offer.runtime.holds.live)):
            return
        until = self._now + self._rules.notice
        self.noticed += (replace(one, notice=Notice(until, _why(claim))) for one in victims)
        self._going |= {one.id for one in victims}

    def _victims(self, claim: Claim, on_it: Sequence[Claim], margin: int) -> Sequence[Claim]:
        """An exclusive claim drives out all, a shared one the least important, and of those the newest."""
        lower = [one for one in on_it if one.order.priority + margin <= claim.order.priority]
        if claim.order.exclusive:
            return lower
        return sorted(lower, key=lambda one: (one.order.priority, -one.create_time.timestamp(), one.id))[:1]


def _why(claim: Claim) -> Problem:
    text = f"A claim of priority {claim.order.priority} takes its place."
    return Problem("PREEMPTED", text, "Claim it again: it waits for its turn, or claim another runtime.")
