from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from control_plane.domain.claims.claim import Claim, Lease
from control_plane.domain.claims.lease import Due, first_due, heard, is_plausible
from control_plane.domain.ids import ClaimId
from control_plane.domain.steps import Steps
from control_plane.use_cases.claims.book import ClaimBook
from control_plane.use_cases.ports import Clock, Store, Transaction
from control_plane.use_cases.slices import in_slices, portions


class ClaimDues:
    """When each claim is over, as this control plane counts. Only on the loop.

    Leases of claims that it hears of for the first time are read, and those that seem to be over are read again:
    another replica may have renewed them.
    """

    def __init__(self, store: Store, book: ClaimBook, clock: Clock, amnesty: timedelta) -> None:
        self._store = store
        self._book = book
        self._clock = clock
        self._amnesty = amnesty
        self._known: dict[ClaimId, Due] = {}
        self.times: Mapping[ClaimId, datetime] = _Times(self._known)
        book.on_change(self._heard)
        self.forget()

    def forget(self) -> None:
        """As after a start: what another control plane counted is not known here."""
        self._known.clear()
        self._unread = set(self._book.claims)
        self._seem_over: set[ClaimId] = set()
        self._line: list[tuple[datetime, ClaimId]] = []
        """Each that is known and does not seem to be over, by a time at which it was not yet."""

    async def look(self) -> None:
        """After a look at the book. StorageUnavailable; then all is as before."""
        now = self._clock.now()
        self._pass(now)
        wanted = [self._book.claims[claim] for claim in self._unread | self._seem_over]
        for some in portions(wanted):
            leases = await self._store.read(lambda tx, some=some: _leases(tx, some))  # type: ignore[misc]
            mended = await in_slices(self._taken(some, leases, now))
            if mended:
                await self._store.write(lambda tx, mended=mended: _mended(tx, mended))  # type: ignore[misc]

    def renewed(self, claim: Claim, lease: Lease) -> None:
        """By this control plane, now. What nobody looked at yet is read when somebody does."""
        if claim.id in self._known:
            self._known[claim.id] = Due(self._clock.now() + claim.order.ttl, lease.serial)

    def of(self, claim: Claim) -> Due:
        return self._known.get(claim.id) or Due(self._clock.now() + claim.order.ttl, 0)

    def _taken(
        self, claims: Iterable[Claim], leases: Mapping[ClaimId, Lease | None], now: datetime
    ) -> Steps[list[Lease]]:
        """Leases that are to be written anew."""
        mended: list[Lease] = []
        for claim in claims:
            known, lease = self._known.get(claim.id), leases.get(claim.id)
            due = heard(claim, known, lease, now) if known else first_due(claim, lease, now, self._amnesty)
            self._put(claim.id, due, now)
            if known is None and lease is not None and not is_plausible(claim, lease, now):
                mended.append(replace(lease, expire_time=due.time))
            yield
        return mended

    def _put(self, claim: ClaimId, due: Due, now: datetime) -> None:
        if claim not in self._book.claims:
            return
        self._known[claim] = due
        self._unread.discard(claim)
        if due.time > now:
            self._seem_over.discard(claim)
            heapq.heappush(self._line, (due.time, claim))

    def _pass(self, now: datetime) -> None:
        """Those whose time has come seem to be over, unless they were renewed here since."""
        while self._line and self._line[0][0] <= now:
            _, claim = heapq.heappop(self._line)
            due = self._known.get(claim)
            if due is not None and due.time > now:
                heapq.heappush(self._line, (due.time, claim))
            elif due is not None:
                self._seem_over.add(claim)

    def _heard(self, claims: Collection[ClaimId]) -> None:
        live = self._book.claims
        self._unread.update(claim for claim in claims if claim in live and claim not in self._known)
        for claim in claims:
            if claim not in live:
                self._known.pop(claim, None)
                self._unread.discard(claim)
                self._seem_over.discard(claim)


class _Times(Mapping[ClaimId, datetime]):
    def __init__(self, known: Mapping[ClaimId, Due]) -> None:
        self._known = known

    def __getitem__(self, claim: ClaimId) -> datetime:
        return self._known[claim].time

    def __iter__(self) -> Iterator[ClaimId]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def _mended(tx: Transaction, leases: Iterable[Lease]) -> None:
    """So that they count down from now on, however often somebody starts anew."""
    for lease in leases:
        if (stored := tx.claim_leases.get(lease.id)) is not None and stored.serial == lease.serial:
            tx.claim_leases.put(lease)


def _leases(tx: Transaction, claims: Collection[Claim]) -> dict[ClaimId, Lease | None]:
    return {claim.id: tx.claim_leases.get(claim.id) for claim in claims}
