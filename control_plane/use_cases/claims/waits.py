from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from control_plane.domain.claims.allocation import Wait, allocating
from control_plane.domain.claims.claim import Claim, ClaimState
from control_plane.domain.claims.line import Rules, is_due
from control_plane.domain.claims.offers import Offer
from control_plane.domain.ids import ClaimId
from control_plane.domain.problem import Problem
from control_plane.use_cases.claims.book import ClaimBook
from control_plane.use_cases.claims.facts import Sight
from control_plane.use_cases.ports import Clock, Store, Transaction
from control_plane.use_cases.slices import in_slices

FRESH = timedelta(seconds=1)
"""For so long one look at the line serves all who ask."""
FRESH_ENOUGH = timedelta(milliseconds=100)
"""Even for whoever is new in it."""


@dataclass(frozen=True, slots=True)
class _Look:
    time: datetime
    waits: Mapping[ClaimId, Wait]

    def is_fresh(self, claim: Claim, now: datetime) -> bool:
        return timedelta() <= now - self.time < (FRESH if claim.id in self.waits else FRESH_ENOUGH)


class ClaimWaits:
    """What each that waits waits for, as any replica sees it. One for all who ask; only on the loop."""

    def __init__(self, store: Store, sight: Sight, clock: Clock, book: ClaimBook, rules: Rules) -> None:
        self._store = store
        self._sight = sight
        self._clock = clock
        self._book = book
        self._rules = rules
        self._one_at_a_time = asyncio.Lock()
        self._last: _Look | None = None

    async def of(self, claim: Claim) -> Wait | None:
        """None for one that does not wait. StorageUnavailable."""
        if claim.state is not ClaimState.QUEUED:
            return None
        if not is_due(claim, self._clock.now()):
            return _until_then(claim)
        async with self._one_at_a_time:
            if self._last is None or not self._last.is_fresh(claim, self._clock.now()):
                self._last = await self._look()
            return self._last.waits.get(claim.id)

    async def _look(self) -> _Look:
        await self._book.look()
        await self._sight.mirror.look()
        now = self._clock.now()
        waiting = [claim for claim in self._book.waiting() if is_due(claim, now)]
        offers = list(self._sight.offers(waiting, now))
        leases = await self._store.read(lambda tx: _leases(tx, offers))
        served, holding = self._book.served, self._book.holding()
        steps = allocating(waiting, holding, offers, now, rules=self._rules, leases=leases, served=served)
        return _Look(now, (await in_slices(steps)).waits)


def _until_then(claim: Claim) -> Wait:
    start = claim.order.window.start
    text = f"Its time window begins at {start:%Y-%m-%dT%H:%M:%SZ}."
    problem = Problem("CLAIM_WAITING", text, "Renew it until then, or release it.")
    return Wait(1, problem, start, claim.booked)


def _leases(tx: Transaction, offers: Iterable[Offer]) -> dict[ClaimId, datetime]:
    """Of those who have what is offered."""
    holders = {hold.claim for offer in offers for hold in offer.runtime.holds.live}
    found = (tx.claim_leases.get(claim) for claim in holders)
    return {lease.id: lease.expire_time for lease in found if lease is not None}
