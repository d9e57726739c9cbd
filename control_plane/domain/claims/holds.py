"""The set of holds of an instance: fences rise strictly, one holder alone or as many as there are slots."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from control_plane.domain.claims.claim import RuntimeClaim
from control_plane.domain.claims.hold import Booking, Hold, Holds, Leaving
from control_plane.domain.ids import ClaimId
from control_plane.domain.runtime import SYSTEM_CLAIM, Runtime

LOCK_DELAY = timedelta(seconds=15)
FENCES = 1000
"""That fit between two revisions: more than one transaction gives for one runtime."""


def live(runtime: Runtime) -> dict[str, int]:
    """Claim -> fence, as the node of the runtime is to know it. Who has it alone has it without the system."""
    held: dict[str, int] = {hold.claim: hold.fence for hold in runtime.holds.live}
    return held if is_taken_alone(runtime) else {SYSTEM_CLAIM: runtime.fence, **held}


def is_taken_alone(runtime: Runtime) -> bool:
    return any(hold.exclusive for hold in runtime.holds.live)


def hold_of(runtime: Runtime, claim: ClaimId) -> Hold | None:
    return next((hold for hold in runtime.holds.live if hold.claim == claim), None)


def next_fence(runtime: Runtime, revision: int = 0) -> int:
    """`revision`: at which it is written. Higher than what an earlier row of this id had, and than what was lost."""
    return max(runtime.fence, runtime.holds.last_fence, revision * FENCES) + 1


def has_room(runtime: Runtime, slots: int, *, exclusive: bool) -> bool:
    """`slots`: how many may share it. What is leaving still needs its room."""
    using = used(runtime)
    if exclusive:
        return not using
    return len(using) < slots and not any(hold.exclusive for hold in using)


def used(runtime: Runtime) -> tuple[Hold, ...]:
    """Those that take room."""
    return (*runtime.holds.live, *(one.hold for one in runtime.holds.leaving))


def given(
    runtime: Runtime, claim: ClaimId, revision: int, order: RuntimeClaim, until: datetime | None
) -> tuple[Runtime, Hold]:
    """With a hold for the claim; the caller made sure that there is room, and writes it at `revision`."""
    hold = Hold(claim, next_fence(runtime, revision), revision, order.exclusive, until, order.stop_after)
    holds = _unbooked(runtime.holds, claim)
    holds = replace(holds, live=(*holds.live, hold), last_fence=hold.fence)
    return replace(runtime, holds=holds), hold


def taken(runtime: Runtime, claim: ClaimId, revision: int, now: datetime) -> Runtime:
    """Without the claim's hold and its booking. Does nothing to a runtime that has neither."""
    hold = hold_of(runtime, claim)
    runtime = replace(runtime, holds=_unbooked(runtime.holds, claim))
    if hold is None:
        return runtime
    holds = runtime.holds
    left = Leaving(hold, revision, now + LOCK_DELAY)
    kept = tuple(one for one in holds.live if one.claim != claim)
    fence = next_fence(runtime, revision) if hold.exclusive else runtime.fence
    return replace(runtime, fence=fence, holds=replace(holds, live=kept, leaving=(*holds.leaving, left)))


def settled(runtime: Runtime, applied: int, now: datetime) -> Runtime:
    """Without what has left. `applied`: the revision that its node has applied."""
    staying = tuple(one for one in runtime.holds.leaving if applied < one.revision and _is_delayed(one, now))
    if staying == runtime.holds.leaving:
        return runtime
    return replace(runtime, holds=replace(runtime.holds, leaving=staying))


def moved(runtime: Runtime) -> Runtime:
    """For another place: who held the instance there holds nothing here."""
    return replace(runtime, fence=next_fence(runtime), holds=replace(runtime.holds, live=(), leaving=()))


def booked(runtime: Runtime, booking: Booking) -> Runtime:
    return replace(runtime, holds=replace(runtime.holds, bookings=(*runtime.holds.bookings, booking)))


def claims_of(runtime: Runtime) -> Iterable[ClaimId]:
    """Everyone who holds it or was promised to."""
    yield from (hold.claim for hold in runtime.holds.live)
    yield from (booking.claim for booking in runtime.holds.bookings)


def _is_delayed(one: Leaving, now: datetime) -> bool:
    """A clock that was set back makes nobody wait longer than the delay."""
    return now < one.until <= now + LOCK_DELAY


def _unbooked(holds: Holds, claim: ClaimId) -> Holds:
    if all(booking.claim != claim for booking in holds.bookings):
        return holds
    return replace(holds, bookings=tuple(one for one in holds.bookings if one.claim != claim))
