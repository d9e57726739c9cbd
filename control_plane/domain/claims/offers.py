"""Runtimes as claims see them: what they are, whether they serve, and what room they have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from control_plane.domain.claims.claim import RuntimeClaim
from control_plane.domain.claims.hold import Booking
from control_plane.domain.claims.holds import has_room
from control_plane.domain.ids import ClaimId, RuntimeId
from control_plane.domain.instance import Instance
from control_plane.domain.runtime import DesiredState, Runtime

SHORTEST = timedelta(seconds=15)
"""What is promised to another sooner than this is not given away before it."""


@dataclass(frozen=True, slots=True)
class Offer:
    runtime: Runtime
    instance: Instance | None = None
    """As its node reports it, unknown while that is away; None: nothing is reported."""
    typical: timedelta | None = None
    """How long claims on it lasted of late; None: unknown."""

    @property
    def serves(self) -> bool:
        """It answers requests where it is to be."""
        if self.instance is None or self.instance.node != self.runtime.node:
            return False
        return self.instance.state.serves and self.runtime.desired_state is DesiredState.RUNNING

    @property
    def tokens_per_sec(self) -> float | None:
        """Of one request alone, as its node measured it for this model, engine and device; None: it never was."""
        footprint = self.instance.footprint if self.instance else None
        return footprint.generated_tokens_per_second if footprint else None

    @property
    def slots(self) -> int:
        """As its engine says, else as it is declared; 1 when nobody says."""
        health = self.instance.health if self.instance else None
        said = health.slots if health else None
        return said or self.runtime.spec.settings.slots or 1

    def has_room(self, order: RuntimeClaim) -> bool:
        return has_room(self.runtime, self.slots, exclusive=order.exclusive)


class Offers:
    """By the names that claims know them by."""

    def __init__(self, offers: Iterable[Offer]) -> None:
        self.by_id: dict[RuntimeId, Offer] = {}
        self._tagged: dict[str, list[RuntimeId]] = defaultdict(list)
        for offer in sorted(offers, key=lambda offer: offer.runtime.id):
            self.by_id[offer.runtime.id] = offer
            for name in set(names_of(offer.runtime)):
                self._tagged[name].append(offer.runtime.id)

    def tagged(self, model_tag: str) -> Sequence[Offer]:
        """In id order."""
        return [self.by_id[runtime] for runtime in self._tagged.get(model_tag, ())]

    def put(self, offer: Offer) -> None:
        """In place of the one of the same runtime."""
        self.by_id[offer.runtime.id] = offer


def names_of(runtime: Runtime) -> tuple[str, ...]:
    """What a claim may call it."""
    names = (runtime.id, runtime.replica_of, runtime.spec.model, runtime.spec.display_name)
    return tuple(name for name in names if name)


def promised_at(offer: Offer, order: RuntimeClaim, claim: ClaimId, now: datetime) -> datetime | None:
    """When the room that is there now is somebody else's; None: it is nobody's."""
    starts = (max(booking.start, now) for booking in _others(offer, claim, now))
    return min((start for start in starts if _is_short(offer, order, claim, start)), default=None)


def can_book(offer: Offer, booking: Booking) -> bool:
    """Whether all that was promised before leaves room for it. Holders of today do not count: they may be gone."""
    together = [other for other in offer.runtime.holds.bookings if _overlap(other, booking)]
    if booking.exclusive or any(other.exclusive for other in together):
        return not together
    starts = [booking.start, *(other.start for other in together)]
    return all(sum(other.start <= start < other.end for other in together) < offer.slots for start in starts)


def ends_of(offer: Offer, leases: Mapping[ClaimId, datetime], now: datetime) -> list[datetime]:
    """When each that uses it is gone at the latest, if nobody renews."""
    holds = offer.runtime.holds
    ends = [
        min(leases.get(hold.claim, now), hold.until or datetime.max.replace(tzinfo=now.tzinfo)) for hold in holds.live
    ]
    return sorted(max(now, end) for end in (*ends, *(one.until for one in holds.leaving)))


def _others(offer: Offer, claim: ClaimId, now: datetime) -> Iterator[Booking]:
    return (one for one in offer.runtime.holds.bookings if one.claim != claim and one.end > now)


def _is_short(offer: Offer, order: RuntimeClaim, claim: ClaimId, at: datetime) -> bool:
    """Whether there is no room for it then, beside who has it now for longer and who was promised it."""
    promised = [one for one in offer.runtime.holds.bookings if one.claim != claim and one.start <= at < one.end]
    if order.exclusive or any(one.exclusive for one in promised):
        return bool(promised)
    staying = [hold for hold in offer.runtime.holds.live if hold.until is None or hold.until > at]
    return len(promised) + len(staying) >= offer.slots


def _overlap(one: Booking, other: Booking) -> bool:
    return one.start < other.end and other.start < one.end
