from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from control_plane.domain.claims.allocation import Grant, Plan, allocating
from control_plane.domain.claims.claim import Claim, ClaimState
from control_plane.domain.claims.holds import claims_of
from control_plane.domain.claims.line import Rules, is_due
from control_plane.domain.claims.offers import Offer
from control_plane.domain.claims.states import turned
from control_plane.domain.claims.steps import Facts, is_overdue, next_step, seeks
from control_plane.domain.errors import NotLeading
from control_plane.domain.ids import ClaimId, RuntimeId
from control_plane.domain.steps import Steps
from control_plane.use_cases.claims.agenda import ClaimAgenda
from control_plane.use_cases.claims.announcements import claim_noticed
from control_plane.use_cases.claims.book import ClaimBook
from control_plane.use_cases.claims.changes import drop, put, reserve
from control_plane.use_cases.claims.dues import ClaimDues
from control_plane.use_cases.claims.facts import Sight
from control_plane.use_cases.claims.owners import ClaimOwners
from control_plane.use_cases.claims.silence import ClaimSilence
from control_plane.use_cases.mirror import Changed
from control_plane.use_cases.ports import Clock, Store, Transaction
from control_plane.use_cases.slices import in_slices, portions
from wire.refusal import Refusal

PATIENCE = timedelta(seconds=5)
"""Where nothing happened those who wait are looked at again only after it."""

Taken = Sequence[tuple[Claim, Claim]]
"""Claims as they were seen, and as they are next."""
Change = Callable[[Transaction], bool]
"""Whether it changed something."""


class SettleClaims:
    """Take every claim on: confirm, suspend, recover, expire, hand over, and give what is free to who waits for it.

    For one loop of one control plane: call it after each change of intent, of liveness and of an instance, and every
    second. Whatever it decides is compared with the rows in the transaction that writes it, and left to the next call
    where they changed. However many there are, others on the loop have their turns.
    """

    def __init__(
        self,
        store: Store,
        sight: Sight,
        clock: Clock,
        *,
        book: ClaimBook,
        dues: ClaimDues,
        owners: ClaimOwners,
        amnesty: timedelta,
        rules: Rules = Rules(),  # noqa: B008 - frozen
    ) -> None:
        """`amnesty`: for that long after a start or a change of leaders nobody is late: all may still come back."""
        self._store = store
        self._mirror = sight.mirror
        self._clock = clock
        self._book = book
        self._dues = dues
        self._owners = owners
        self._amnesty = amnesty
        self._rules = rules
        self._sight = sight
        self._agenda = ClaimAgenda(book, sight, dues)
        self._silence = ClaimSilence(sight, clock)
        sight.mirror.on_change(self._heard)
        self.led_anew()

    def led_anew(self) -> None:
        """This one settles them from now on."""
        self._dues.forget()
        self._agenda.forget()
        self._unchecked = set(self._mirror.runtimes)
        """Runtimes whose holds may have outlived their claims."""
        self._allot_at = self._amnesty_until = self._clock.now() + self._amnesty

    async def __call__(self) -> int:
        """How many went on."""
        await self._book.look()
        if not (self._book.claims or self._book.left or self._unchecked):
            return 0
        await self._look()
        went = await self._stepped(await in_slices(self._steps()))
        await self._without_orphans()
        if went:
            await self._look()
        return went + await self._allotted()

    async def _look(self) -> None:
        await self._book.look()
        await self._mirror.look()
        await self._dues.look()
        self._agenda.again(await self._owners.outcasts())
        if self._book.claims:
            await self._silence.look()

    def _heard(self, changed: Changed) -> None:
        known = self._mirror.runtimes
        self._unchecked |= {name for name in changed.runtimes if name in known and any(claims_of(known[name]))}

    def _steps(self) -> Steps[Taken]:
        now, taken = self._clock.now(), []
        for claim in self._agenda.due(now, amnesty=now < self._amnesty_until):
            self._agenda.schedule(claim)
            after = self._owners.ended(claim, now) or next_step(claim, self._facts(claim))
            if after is not None:
                taken.append((claim, after))
            yield
        return taken

    def _facts(self, claim: Claim) -> Facts:
        now = self._clock.now()
        facts = Facts(
            now,
            self._dues.of(claim).time,
            amnesty=now < self._amnesty_until,
            frozen=claim.held is not None and claim.held.node in self._silence.nodes,
            patient_since=max(self._amnesty_until, self._silence.over or self._amnesty_until),
        )
        return self._sight.facts(claim.held, facts)

    async def _stepped(self, taken: Taken) -> int:
        now = self._clock.now()
        try:
            return await self._write(partial(self._went_on, before, after, now) for before, after in taken)
        except (NotLeading, Refusal):
            self._agenda.again(claim.id for claim, _ in taken)
            raise

    async def _write(self, changes: Iterable[Change]) -> int:
        """How many changed something."""
        return sum([await self._store.write(partial(_made, some)) for some in portions(changes)])

    def _went_on(self, before: Claim, after: Claim, now: datetime, tx: Transaction) -> bool:
        """False when the claim changed since it was looked at, or was renewed."""
        if tx.claims.get(before.id) != before:
            return False
        due = self._dues.of(before)
        if after.state is ClaimState.EXPIRED and now >= due.time:
            lease = tx.claim_leases.get(before.id)
            if lease is not None and lease.serial != due.serial and not _has_to_go(before, now):
                return False
        put(tx, before, after, now)
        return True

    async def _without_orphans(self) -> None:
        """No hold outlives its claim, whatever happened to that."""
        unchecked, self._unchecked = self._unchecked | self._book.left, set()
        self._book.left.clear()
        known, runtimes = self._book.claims, self._mirror.runtimes
        changed = [runtimes[name] for name in unchecked if name in runtimes]
        lost = [(runtime.id, claim) for runtime in changed for claim in claims_of(runtime) if claim not in known]
        now = self._clock.now()
        try:
            await self._write(partial(_dropped, runtime, claim, now) for runtime, claim in lost)
        except (NotLeading, Refusal):
            self._unchecked |= unchecked
            raise

    async def _allotted(self) -> int:
        now = self._clock.now()
        seeking = [claim for claim in self._book.unsettled() if seeks(claim, self._facts(claim))]
        if not (seeking or self._agenda.stirred or now >= self._allot_at):
            return 0
        self._agenda.stirred = False
        wanting = [*seeking, *(claim for claim in self._book.waiting() if is_due(claim, now))]
        offers = list(self._sight.offers(wanting, now))
        self._allot_at = self._next_turn(offers, now)
        plan = await self._plan(wanting, offers, now)
        given = {grant.claim.id for grant in plan.grants}
        overdue = [one for one in seeking if one.id not in given and is_overdue(one, self._facts(one))]
        try:
            return await self._write(self._changes(plan, overdue, now))
        except (NotLeading, Refusal):
            self._agenda.stirred = True
            raise

    def _next_turn(self, offers: Iterable[Offer], now: datetime) -> datetime:
        """When those who wait may go on although nothing happens."""
        if any(offer.runtime.holds.leaving for offer in offers):
            return now
        starts = (claim.order.window.start for claim in self._book.waiting() if not is_due(claim, now))
        return min([now + PATIENCE, *(start for start in starts if start is not None)])

    async def _plan(self, wanting: Sequence[Claim], offers: Sequence[Offer], now: datetime) -> Plan:
        if not wanting:
            return Plan()
        holding, leases, served = self._book.holding(), self._dues.times, self._book.served
        steps = allocating(wanting, holding, offers, now, rules=self._rules, leases=leases, served=served)
        return await in_slices(steps)

    def _changes(self, plan: Plan, overdue: Iterable[Claim], now: datetime) -> Iterator[Change]:
        yield from (partial(_given_up, claim, now) for claim in overdue)
        yield from (partial(_noticed, claim, now) for claim in plan.noticed)
        yield from (partial(self._reserved, grant, now) for grant in plan.grants)

    def _reserved(self, grant: Grant, now: datetime, tx: Transaction) -> bool:
        applied = self._sight.applied(grant.offer.runtime.node)
        same = tx.claims.get(grant.claim.id) == grant.claim
        return same and reserve(tx, grant.claim, grant, applied, now) is not None


def _made(changes: Iterable[Change], tx: Transaction) -> int:
    return sum(change(tx) for change in changes)


def _given_up(claim: Claim, now: datetime, tx: Transaction) -> bool:
    """It could go nowhere in time."""
    if tx.claims.get(claim.id) != claim:
        return False
    put(tx, claim, turned(claim, ClaimState.REVOKED, now, problem=claim.problem), now)
    return True


def _noticed(claim: Claim, now: datetime, tx: Transaction) -> bool:
    if tx.claims.get(claim.id) != replace(claim, notice=None):
        return False
    tx.claims.put(claim)
    tx.journal.append(claim_noticed(claim, now))
    return True


def _dropped(runtime: RuntimeId, claim: ClaimId, now: datetime, tx: Transaction) -> bool:
    row = tx.claims.get(claim)
    gone = row is None or row.state.over
    if gone:
        drop(tx, runtime, claim, now)
    return gone


def _has_to_go(claim: Claim, now: datetime) -> bool:
    """Renewed or not."""
    return any(end is not None and now >= end for end in (claim.not_after, claim.order.window.end))
