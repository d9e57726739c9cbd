"""Claims that the gateway takes for keys: one shared one for each project and runtime, for as long as it is used."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from control_plane.domain.claims.claim import Claim, ClaimState, Requirement, RuntimeClaim
from control_plane.domain.claims.hold import Hold
from control_plane.domain.claims.holds import hold_of
from control_plane.domain.ids import ClaimId, ProjectId, RuntimeId
from control_plane.domain.runtime import Modality, Runtime
from control_plane.use_cases.claims.acquire_claim import AcquireClaim
from control_plane.use_cases.claims.book import ClaimBook
from control_plane.use_cases.claims.facts import Sight
from control_plane.use_cases.claims.release_claim import ReleaseClaim
from control_plane.use_cases.claims.renew_claims import RenewClaims
from control_plane.use_cases.ports import Clock, Randomness
from wire.refusal import Refusal

TTL = timedelta(seconds=60)
RENEW_EVERY = TTL / 3
IDLE = timedelta(seconds=30)
STAY = timedelta(seconds=30)
"""For so long it keeps what it has from those who wait with a claim of their own."""
PATIENCE = timedelta(seconds=10)
"""After one ended or was refused, before the next."""
_OURS = uuid.UUID("5a1d8c2e-0c5b-4c0e-9d0b-8f6f1d1c7a11")
_VERSION = 5
"""Of the UUIDs that these ask with; others are told to send version 4."""
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Means:
    """With what claims are taken, kept and given up."""

    acquire: AcquireClaim
    renew: RenewClaims
    release: ReleaseClaim
    sight: Sight
    book: ClaimBook


@dataclass(slots=True)
class _Use:
    """Of one runtime, with its replicas, by one project."""

    project: ProjectId
    runtime: RuntimeId
    modality: Modality
    used: datetime
    claim: ClaimId | None = None
    in_hand: int = 0
    """Requests under the claim."""
    renewed: datetime | None = None
    rests_until: datetime | None = None
    yields: bool = False
    """Others wait for its room: nothing new comes under it."""


class ImplicitClaims:
    """Never in a request's way: until one is granted, requests pass by the system's hold, where that is left.

    It takes a slot like any claim, and gives it up to whoever waits with a claim of their own.
    """

    def __init__(self, means: Means, clock: Clock, randomness: Randomness) -> None:
        self._means = means
        self._clock = clock
        self._randomness = randomness
        self._uses: dict[tuple[str, RuntimeId], _Use] = {}
        self._claimed: dict[str, _Use] = {}
        """By claim."""
        self._wanted = asyncio.Event()

    def take(self, project: str, runtime: Runtime) -> Hold | None:
        """The hold for one request, until `left`; None: there is none there, at least not yet.

        What is loaded on demand comes and goes as it is asked for: it is kept for nobody who claims nothing.
        """
        if runtime.spec.residence.on_demand:
            return None
        use = self.want(project, runtime)
        claim = self._means.book.claims.get(use.claim) if use.claim is not None else None
        if claim is None or use.yields or claim.state is not ClaimState.GRANTED:
            return None
        hold = hold_of(runtime, claim.id)
        if hold is not None:
            use.in_hand += 1
        return hold

    def left(self, claim: str) -> None:
        """A request that had this claim's hold is over. One of somebody else's is not meant."""
        use = self._claimed.get(claim)
        if use is not None:
            use.in_hand -= 1
            use.used = self._clock.now()

    def want(self, project: str, runtime: Runtime) -> _Use:
        """Note that the project asks for it, and see that it gets a claim."""
        key, now = (project, runtime.replica_of or runtime.id), self._clock.now()
        use = self._uses.get(key)
        if use is None:
            use = self._uses[key] = _Use(ProjectId(project), key[1], _modality(runtime), now)
            self._wanted.set()
        use.used = now
        return use

    def waiting(self, project: str, runtime: Runtime) -> ClaimId | None:
        """The claim with which it stands in line, if it does."""
        return self.want(project, runtime).claim

    async def run(self) -> None:
        """Take what is asked for, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await self.acquire()

    async def acquire(self) -> None:
        for use in tuple(self._uses.values()):
            if use.claim is None and not _rests(use, self._clock.now()):
                await self._acquire(use)

    async def tend(self) -> None:
        """Renew what is used, give up what is not, see what ended. Call it every few seconds."""
        await self._means.book.look()
        now, awaited = self._clock.now(), self._awaited()
        for use in tuple(self._uses.values()):
            self._look_at(use, awaited, now)
        await asyncio.gather(*[self._give_up(use) for use in self._idle(now)])
        await asyncio.gather(*[self._renew(use, use.claim) for use in self._uses.values() if _is_due(use, now)])
        await self.acquire()

    def _look_at(self, use: _Use, awaited: Iterable[RuntimeId], now: datetime) -> None:
        claim = self._means.book.claims.get(use.claim) if use.claim is not None else None
        if use.claim is not None and claim is None:
            self._forget(use, now + PATIENCE)
        use.yields = claim is not None and use.runtime in awaited and _has_stayed(claim, now)

    def _idle(self, now: datetime) -> list[_Use]:
        return [use for use in self._uses.values() if not use.in_hand and (use.yields or now - use.used >= IDLE)]

    def _awaited(self) -> frozenset[RuntimeId]:
        """What others wait for with claims of their own."""
        asking = [claim for claim in self._means.book.waiting() if not is_implicit(claim)]
        if not asking:
            return frozenset()
        offered = (offer.runtime for offer in self._means.sight.offers(asking, self._clock.now()))
        return frozenset(runtime.replica_of or runtime.id for runtime in offered)

    async def _acquire(self, use: _Use) -> None:
        request_id = uuid.uuid5(_OURS, f"{use.project} {use.runtime} {self._randomness.uid()}")
        try:
            claim = await self._means.acquire(use.project, _order(use), str(request_id))
        except Refusal as refusal:
            _log.info("implicit_claim_refused", project=use.project, runtime=use.runtime, text=refusal.text)
            use.rests_until = self._clock.now() + PATIENCE
            return
        use.claim, use.renewed, use.rests_until = claim.id, self._clock.now(), None
        self._claimed[claim.id] = use

    async def _renew(self, use: _Use, claim: ClaimId | None) -> None:
        """What cannot be renewed now can be the next time, or is over and then seen to be."""
        assert claim is not None  # noqa: S101 - only what has one is due
        try:
            await self._means.renew(use.project, claim)
        except Refusal as refusal:
            _log.info("implicit_claim_not_renewed", claim=claim, text=refusal.text)
            return
        use.renewed = self._clock.now()

    async def _give_up(self, use: _Use) -> None:
        claim = use.claim
        self._forget(use, None)
        if not use.yields:
            self._uses.pop((use.project, use.runtime), None)
        if claim is not None:
            try:
                await self._means.release(use.project, claim)
            except Refusal as refusal:
                _log.info("implicit_claim_not_released", claim=claim, text=refusal.text)

    def _forget(self, use: _Use, rests_until: datetime | None) -> None:
        if use.claim is not None:
            self._claimed.pop(use.claim, None)
        use.claim, use.in_hand, use.rests_until = None, 0, rests_until


def is_implicit(claim: Claim) -> bool:
    return bool(claim.request_id) and uuid.UUID(claim.request_id).version == _VERSION


def _order(use: _Use) -> RuntimeClaim:
    return RuntimeClaim(Requirement(use.runtime, modality=use.modality), ttl=TTL)


def _modality(runtime: Runtime) -> Modality:
    declared = runtime.spec.modalities
    return Modality.TEXT if Modality.TEXT in declared or not declared else declared[0]


def _rests(use: _Use, now: datetime) -> bool:
    return use.rests_until is not None and now < use.rests_until


def _is_due(use: _Use, now: datetime) -> bool:
    """One that yields is not kept: what is under it has until its lease is over."""
    if use.claim is None or use.yields:
        return False
    return use.renewed is None or now - use.renewed >= RENEW_EVERY


def _has_stayed(claim: Claim, now: datetime) -> bool:
    return claim.held is not None and now - claim.held.time >= STAY
