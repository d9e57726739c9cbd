"""Claims that requests name."""

from __future__ import annotations

import math
from collections.abc import Collection
from datetime import datetime

from control_plane.data_path.known_waits import KnownWaits
from control_plane.domain.claims.claim import Claim, ClaimState
from control_plane.domain.ids import ClaimId, ProjectId
from control_plane.use_cases.claims.book import ClaimBook
from control_plane.use_cases.ports import Clock
from gateway.refusals import ClaimForeign, ClaimNotFound, ClaimOver, ClaimSuspended, ClaimWaiting, GatewayRefusal

_REMEMBERED = 10_000
"""Claims that are over; the oldest is forgotten first."""
_SHOWN = 64
_SOON_SECONDS = 1
_LATER_SECONDS = 10
_LONGEST_SECONDS = 600


class NamedClaims:
    """As of the last look at the book. Never blocks."""

    def __init__(self, book: ClaimBook, waits: KnownWaits, clock: Clock) -> None:
        self._book = book
        self._waits = waits
        self._clock = clock
        self._projects: dict[ClaimId, ProjectId] = {}
        self._over: dict[ClaimId, ProjectId] = {}
        self._heard(tuple(book.claims))
        book.on_change(self._heard)

    def granted(self, name: str, project: str) -> Claim:
        """With what it holds. GatewayRefusal when nothing passes under it now. `project` empty: an operator asks."""
        claim = self._book.claims.get(ClaimId(name))
        if claim is None:
            raise self._gone(ClaimId(name), project)
        if project not in ("", claim.project):
            raise _foreign(name)
        if claim.state is not ClaimState.GRANTED:
            raise self._not_yet(claim)
        return claim

    def _gone(self, claim: ClaimId, project: str) -> GatewayRefusal:
        owner = self._over.get(claim)
        if owner is None:
            text = f"There is no claim {claim[:_SHOWN]!r}."
            return ClaimNotFound(text, "See which there are: arwctl claim list.", claim=claim[:_SHOWN])
        if project not in ("", owner):
            return _foreign(claim)
        remedy = f"See why: arwctl claim show {claim}. Then claim anew, or send the request without a claim."
        return ClaimOver(f"Claim {claim} is over.", remedy, claim=claim)

    def _not_yet(self, claim: Claim) -> GatewayRefusal:
        match claim.state:
            case ClaimState.SUSPENDED:
                return self._suspended(claim)
            case ClaimState.RESERVED:
                node = claim.held.node if claim.held else "its node"
                text = f"Claim {claim.id} waits for {node} to let it in."
                return ClaimWaiting(text, "Send the request again.", retry_after=_SOON_SECONDS, claim=claim.id)
            case _:
                return self._queued(claim)

    def _suspended(self, claim: Claim) -> ClaimSuspended:
        why = claim.problem.text if claim.problem else "What it holds does not serve."
        until = claim.since + claim.order.max_disruption
        left = min(seconds_until(until, self._clock.now()), _LATER_SECONDS)
        then = "its fallback answers" if claim.order.fallbacks else "it goes elsewhere or is revoked"
        remedy = f"Send the request again: it recovers, or from {until:%H:%M:%SZ} on {then}."
        return ClaimSuspended(f"Claim {claim.id} is suspended. {why}", remedy, retry_after=left, claim=claim.id)

    def _queued(self, claim: Claim) -> ClaimWaiting:
        wait = self._waits.of(claim.id)
        if wait is None:
            text, eta = f"Claim {claim.id} waits for its turn.", None
        else:
            text, eta = f"Claim {claim.id} waits at position {wait.position}. {wait.problem.text}", wait.eta
        left = seconds_until(eta, self._clock.now()) if eta else _LATER_SECONDS
        remedy = f"Follow it: arwctl claim watch {claim.id}."
        return ClaimWaiting(text, remedy, retry_after=left, claim=claim.id)

    def _heard(self, changed: Collection[ClaimId]) -> None:
        for name in changed:
            claim, owner = self._book.claims.get(name), self._projects.pop(name, None)
            if claim is not None:
                self._projects[name] = claim.project
            elif owner is not None:
                self._over[name] = owner
        while len(self._over) > _REMEMBERED:
            del self._over[next(iter(self._over))]


def seconds_until(time: datetime, now: datetime) -> int:
    """At least 1, and few enough that a client asks again."""
    return max(1, min(_LONGEST_SECONDS, math.ceil((time - now).total_seconds())))


def _foreign(claim: str) -> ClaimForeign:
    text = f"Claim {claim} is another project's."
    return ClaimForeign(text, "Send a key of the project that has it, or no claim.", claim=claim)
