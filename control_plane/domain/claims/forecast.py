"""When those who wait may have their turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from control_plane.domain.claims.claim import RuntimeClaim
from control_plane.domain.claims.offers import Offer, ends_of
from control_plane.domain.ids import ClaimId, RuntimeId


class Forecast:
    """For one look at the line, in its order. It takes every holder for gone when its lease ends.

    Who follows stays as long as claims did of late, else for as long as it asks.
    """

    def __init__(self, leases: Mapping[ClaimId, datetime], now: datetime) -> None:
        self._leases = leases
        self._now = now
        self._free: dict[RuntimeId, list[datetime]] = {}
        self._places: Counter[RuntimeId | None] = Counter()

    def next_place(self, runtime: RuntimeId | None) -> int:
        self._places[runtime] += 1
        return self._places[runtime]

    def soonest(self, offer: Offer) -> datetime:
        return self._times(offer)[0]

    def turn(self, offer: Offer, order: RuntimeClaim) -> datetime:
        """When the next in the line has it, who then stays on it."""
        times = self._times(offer)
        start = times[-1] if order.exclusive else times[0]
        taken = len(times) if order.exclusive else 1
        end = start + (offer.typical or order.ttl)
        self._free[offer.runtime.id] = sorted([*times[taken:], *[end] * taken])
        return start

    def _times(self, offer: Offer) -> list[datetime]:
        """When each slot is free, the soonest first."""
        runtime = offer.runtime.id
        if runtime not in self._free:
            ends = ends_of(offer, self._leases, self._now)
            alone = any(hold.exclusive for hold in offer.runtime.holds.live)
            idle = [ends[-1] if alone else self._now] * max(0, offer.slots - len(ends))
            self._free[runtime] = sorted([*ends, *idle])
        return self._free[runtime]
