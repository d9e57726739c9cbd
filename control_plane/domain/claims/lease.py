"""Until when claims live. The one who settles them counts from when it heard of a renewal, by its own even clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from control_plane.domain.claims.claim import Claim, Lease


@dataclass(frozen=True, slots=True)
class Due:
    """When a claim is over unless it is renewed, as one control plane counts."""

    time: datetime
    serial: int
    """Of the renewal that it counts from."""


def renewed(claim: Claim, lease: Lease | None, now: datetime) -> Lease:
    """The lease after one more renewal, now."""
    serial = lease.serial + 1 if lease else 1
    return Lease(claim.id, capped(claim, now + claim.order.ttl), serial)


def capped(claim: Claim, time: datetime) -> datetime:
    ends = (time, claim.not_after, claim.order.window.end)
    return min(end for end in ends if end is not None)


def first_due(claim: Claim, lease: Lease | None, now: datetime, amnesty: timedelta) -> Due:
    """At a start, or when a claim is heard of for the first time.

    What is left of its time counts, but not less than the amnesty. A lease that cannot be right counts as if it began
    now: the clock was set since, or it was another one, or nobody was there to be asked for a renewal.
    """
    if lease is None or not is_plausible(claim, lease, now):
        return Due(now + claim.order.ttl, lease.serial if lease else 0)
    return Due(max(lease.expire_time, now + amnesty), lease.serial)


def is_plausible(claim: Claim, lease: Lease, now: datetime) -> bool:
    return timedelta() < lease.expire_time - now <= claim.order.ttl


def heard(claim: Claim, due: Due, lease: Lease | None, now: datetime) -> Due:
    """After a look at the lease: a renewal by another replica counts from now on, for its clock is another one."""
    if lease is None or lease.serial == due.serial:
        return due
    return Due(now + claim.order.ttl, lease.serial)
