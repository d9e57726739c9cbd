from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

from control_plane.domain.claims.claim import Claim, ClaimState
from control_plane.domain.errors import NothingHeld
from control_plane.domain.ids import ClaimId, ProjectId
from control_plane.use_cases.claims.book import ClaimBook
from control_plane.use_cases.claims.changes import claim_of
from control_plane.use_cases.claims.read_claims import ClaimFilter, ClaimView, GetClaim, seen
from control_plane.use_cases.claims.renew_claims import RenewClaims
from control_plane.use_cases.ports import Clock, Store, Transaction

LOOK_EVERY = timedelta(seconds=1)
"""At the place in the line, which changes without a word."""
SHIFT = timedelta(seconds=5)
"""A turn that comes sooner or later by less is not worth a word."""


@dataclass(frozen=True, slots=True)
class FollowClaim:
    """The claim now, then after each change of it or of its place in the line, until it is granted or over.

    It is renewed meanwhile: whoever listens is there. NotFound once it is forgotten, StorageUnavailable.
    """

    get: GetClaim
    book: ClaimBook
    renew: RenewClaims
    clock: Clock
    look_every: timedelta = LOOK_EVERY

    async def __call__(self, claim: Claim) -> AsyncIterator[ClaimView]:
        bell = asyncio.Event()
        stop = self.book.on_change(lambda changed: bell.set() if claim.id in changed else None)
        sent: ClaimView | None = None
        renewed = self.clock.now()
        try:
            while True:
                bell.clear()
                view = await self.get(None, claim.id)
                if sent is None or _is_news(sent, view):
                    yield (sent := view)
                if view.claim.state is ClaimState.GRANTED or view.claim.state.over:
                    return
                if self.clock.now() - renewed >= claim.order.ttl / 3:
                    renewed = self.clock.now()
                    await self._renew(claim.id)
                await self._rung(bell)
        finally:
            stop()

    async def _renew(self, claim: ClaimId) -> None:
        try:
            await self.renew(None, claim)
        except NothingHeld:
            return  # It is over, as the next look tells.

    async def _rung(self, bell: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(self.look_every.total_seconds()):
                await bell.wait()
        except TimeoutError:
            return


@dataclass(frozen=True, slots=True)
class ClaimChange:
    claim: ClaimId | None = None
    """None: only a mark."""
    view: ClaimView | None = None
    """None: forgotten, or a mark."""
    deleted: bool = False
    synced: bool = False
    """Everything that was there at the start was sent before."""


@dataclass(slots=True)
class _Feed:
    """What one watcher has to look at, and what it was sent."""

    only: ClaimId | None
    wanted: ClaimFilter
    bell: asyncio.Event = field(default_factory=asyncio.Event)
    touched: set[ClaimId] = field(default_factory=set)
    sent: dict[ClaimId, Claim] = field(default_factory=dict)

    def heard(self, claims: Collection[ClaimId]) -> None:
        of_mine = [claim for claim in claims if self.only in (None, claim)]
        if of_mine:
            self.touched.update(of_mine)
            self.bell.set()

    def take(self) -> Collection[ClaimId]:
        touched, self.touched = self.touched, set()
        self.bell.clear()
        return sorted(touched)

    def news(self, claims: Iterable[ClaimId], views: Iterable[ClaimView]) -> Iterator[ClaimChange]:
        known = {view.claim.id: view for view in views}
        for claim in claims:
            view, before = known.get(claim), self.sent.get(claim)
            if view is None:
                if self.sent.pop(claim, None) is not None:
                    yield ClaimChange(claim, deleted=True)
            elif view.claim != before and self.wanted.lets(view.claim):
                self.sent[claim] = view.claim
                yield ClaimChange(claim, view)


@dataclass(frozen=True, slots=True)
class WatchClaims:
    """Those that are not over, a mark, then every change. A slow watcher skips to the newest.

    NotFound when the one asked for does not exist at the start, or is of another project.
    """

    store: Store
    book: ClaimBook

    async def __call__(
        self, project: ProjectId | None = None, claim: ClaimId | None = None
    ) -> AsyncIterator[ClaimChange]:
        feed = _Feed(claim, ClaimFilter(project))
        stop = self.book.on_change(feed.heard)
        try:
            await self.book.look()
            feed.touched.update(self.book.claims if claim is None else [await self._there(claim, project)])
            for change in await self._news(feed):
                yield change
            yield ClaimChange(synced=True)
            while True:
                await feed.bell.wait()
                for change in await self._news(feed):
                    yield change
        finally:
            stop()

    async def _there(self, claim: ClaimId, project: ProjectId | None) -> ClaimId:
        return (await self.store.read(lambda tx: claim_of(tx, claim, project))).id

    async def _news(self, feed: _Feed) -> Collection[ClaimChange]:
        claims = feed.take()
        views = await self.store.read(lambda tx: _views(tx, claims))
        return tuple(feed.news(claims, views))


def _views(tx: Transaction, claims: Iterable[ClaimId]) -> Collection[ClaimView]:
    rows = (tx.claims.get(claim) for claim in claims)
    return seen(tx, [row for row in rows if row is not None])


def _is_news(sent: ClaimView, view: ClaimView) -> bool:
    """The time that renewals add to a lease is none."""
    return (sent.claim, _place(sent)) != (view.claim, _place(view)) or _is_shifted(sent, view)


def _place(view: ClaimView) -> object:
    return replace(view.wait, eta=None) if view.wait else None


def _is_shifted(sent: ClaimView, view: ClaimView) -> bool:
    before, after = (shown.wait.eta if shown.wait else None for shown in (sent, view))
    if before is None or after is None:
        return before != after
    return abs(after - before) >= SHIFT
