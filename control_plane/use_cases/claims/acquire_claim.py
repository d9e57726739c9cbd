from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from control_plane.domain.claims.allocation import Grant, allocate
from control_plane.domain.claims.checks import check
from control_plane.domain.claims.claim import Claim, ClaimState, RuntimeClaim
from control_plane.domain.claims.fit import able, impossible
from control_plane.domain.claims.line import Rules, is_due
from control_plane.domain.claims.moves import all_booked, bookable, promised
from control_plane.domain.claims.offers import Offer, Offers
from control_plane.domain.claims.states import turned
from control_plane.domain.errors import InvalidArgument, ProjectDisabled, RateLimited, RequestIdReused
from control_plane.domain.ids import ClaimId, ProjectId
from control_plane.domain.problem import Problem
from control_plane.use_cases.claims.announcements import claim_changed
from control_plane.use_cases.claims.book import ClaimBook
from control_plane.use_cases.claims.changes import extend, reserve
from control_plane.use_cases.claims.facts import Sight, rivals
from control_plane.use_cases.ports import Clock, Randomness, Store, Transaction
from control_plane.use_cases.project_rows import project_of
from control_plane.use_cases.rows import runtime_of, save_holds

NO_PROJECT = ProjectId("")
"""Of what operators claim for themselves."""


@dataclass(frozen=True, slots=True)
class Quota:
    """Of one project."""

    waiting: int = 100
    holding: int = 1000


@dataclass(frozen=True, slots=True)
class AcquireClaim:
    """Reserve what is asked for, else queue it, else say why it cannot be; the same request id is the same claim.

    NotFound, ProjectDisabled, InvalidArgument, RequestIdReused when the project's request id stands for another claim,
    RateLimited when the project has too many. What no declared runtime could ever do is told by the claim, which then
    is rejected.
    """

    store: Store
    sight: Sight
    clock: Clock
    randomness: Randomness
    book: ClaimBook
    rules: Rules = Rules()  # noqa: RUF009 - frozen
    quota: Quota = Quota()

    async def __call__(self, project: ProjectId, order: RuntimeClaim, request_id: str = "") -> Claim:
        now = self.clock.now()
        check(order, now)
        name = claim_id(project, request_id) if request_id else ClaimId(self.randomness.uid())
        known = await self.store.read(lambda tx: _known(tx, project, name))
        if known is not None:
            return _same(known, order)
        await self.book.look()
        await self.sight.mirror.look()
        self._check_quota(project)
        claim = Claim(name, project, order, now, request_id=request_id)
        offers = list(self.sight.offers([claim], now))
        if (problem := impossible(claim, Offers(offers))) is not None:
            return await self.store.write(lambda tx: _rejected(tx, claim, problem, now))
        if order.window.start is not None and order.window.start > now:
            return await self.store.write(lambda tx: _booked(tx, claim, offers, now))
        grant = self._grant(claim, offers, now)
        applied = self.sight.applied(grant.offer.runtime.node) if grant else 0
        return await self.store.write(lambda tx: _made(tx, claim, grant, applied, now))

    def _grant(self, claim: Claim, offers: Sequence[Offer], now: datetime) -> Grant | None:
        """What it gets at once; nothing that is due to those who came before it."""
        queued = replace(claim, state=ClaimState.QUEUED)
        waiting = [one for one in rivals(claim, self.book.waiting(), offers) if is_due(one, now)]
        line, holding = [*waiting, queued], self.book.holding() if waiting else ()
        plan = allocate(line, holding, offers, now, rules=self.rules, served=self.book.served)
        return next((grant for grant in plan.grants if grant.claim.id == claim.id), None)

    def _check_quota(self, project: ProjectId) -> None:
        waiting, holding = (self.book.count(project, holds=holds) for holds in (False, True))
        if waiting >= self.quota.waiting:
            text = f"{_named(project)} has {waiting} claims that wait."
            raise RateLimited(text, "Wait for them, or release some: `arwctl claim list`.", project=project)
        if holding >= self.quota.holding:
            text = f"{_named(project)} holds {holding} claims."
            raise RateLimited(text, "Release some: `arwctl claim list`.", project=project)


def _named(project: ProjectId) -> str:
    return f"Project {project}" if project != NO_PROJECT else "Who claims without a project"


def _known(tx: Transaction, project: ProjectId, claim: ClaimId) -> Claim | None:
    if project != NO_PROJECT and project_of(tx, project).disabled:
        remedy = f"An operator can enable it: arwctl project update {project} --enable."
        raise ProjectDisabled(f"Project {project} is disabled.", remedy, project=project)
    return tx.claims.get(claim)


def claim_id(project: ProjectId, request_id: str) -> ClaimId:
    """The same for the same request, so that its row is its own memory of it. InvalidArgument when it is no UUID."""
    try:
        uuid.UUID(request_id)
    except ValueError:
        raise InvalidArgument(f"Request id {request_id[:64]!r} is no UUID.", "Send a UUID4, or none.") from None
    said = f"{len(project)}:{project}{request_id.lower()}"
    return ClaimId(hashlib.sha256(said.encode()).hexdigest()[:32])


def _same(claim: Claim, order: RuntimeClaim) -> Claim:
    if claim.order != order:
        raise RequestIdReused(
            "This request id was used for another claim.",
            "Make a new id for each new claim, and repeat one only with the same content.",
            claim=claim.id,
        )
    return claim


def _begun(tx: Transaction, claim: Claim, now: datetime) -> Claim | None:
    """The same claim when another call made it meanwhile."""
    known = tx.claims.get(claim.id)
    if known is not None:
        return _same(known, claim.order)
    tx.journal.append(claim_changed(claim, now))
    return None


def _rejected(tx: Transaction, claim: Claim, problem: Problem, now: datetime) -> Claim:
    known = _begun(tx, claim, now)
    return known or _put(tx, turned(claim, ClaimState.REJECTED, now, problem=problem), now)


def _made(tx: Transaction, claim: Claim, grant: Grant | None, applied: int, now: datetime) -> Claim:
    known = _begun(tx, claim, now)
    if known is not None:
        return known
    extend(tx, claim, now)
    given = reserve(tx, claim, grant, applied, now) if grant else None
    return given or _put(tx, turned(claim, ClaimState.QUEUED, now), now)


def _booked(tx: Transaction, claim: Claim, offers: Sequence[Offer], now: datetime) -> Claim:
    """By the rows as they are in this transaction: what was promised meanwhile counts."""
    known = _begun(tx, claim, now)
    if known is not None:
        return known
    window, fresh = claim.order.window, [replace(o, runtime=runtime_of(tx, o.runtime.id)) for o in offers]
    assert window.start is not None and window.end is not None  # noqa: S101, PT018 - was checked
    found = bookable(claim, able(claim.order.wanted, Offers(fresh)), window.start, window.end)
    if found is None:
        return _put(tx, turned(claim, ClaimState.REJECTED, now, problem=all_booked(claim, Offers(fresh))), now)
    claim, runtime = promised(claim, runtime_of(tx, found), window.start, window.end)
    save_holds(tx, runtime)
    extend(tx, claim, now)
    return _put(tx, turned(claim, ClaimState.QUEUED, now), now)


def _put(tx: Transaction, claim: Claim, now: datetime) -> Claim:
    tx.claims.put(claim)
    tx.journal.append(claim_changed(claim, now))
    return claim
