from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from control_plane.domain.claims.claim import Claim, ClaimState
from control_plane.domain.claims.steps import Facts, next_step
from control_plane.domain.ids import NodeId
from control_plane.use_cases.claims.book import ClaimBook
from control_plane.use_cases.claims.changes import put
from control_plane.use_cases.claims.facts import Sight
from control_plane.use_cases.ports import Clock, Store, Transaction

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ConfirmClaims:
    """Grant what waits for the word of one of these nodes, which have applied something; returns how many.

    For the replica that has the nodes' sessions: holders wait for it, so it does not wait for the loop that settles.
    """

    store: Store
    sight: Sight
    clock: Clock
    book: ClaimBook

    async def __call__(self, nodes: Collection[NodeId]) -> int:
        await self.book.look()
        reserved = [claim for claim in self.book.unsettled() if _waits_for(claim, nodes)] if nodes else ()
        if not reserved:
            return 0
        await self.sight.mirror.look()
        now = self.clock.now()
        steps = [(claim, self._next(claim, now)) for claim in reserved]
        granted = [(claim, after) for claim, after in steps if after and after.state is ClaimState.GRANTED]
        return await self.store.write(lambda tx: _written(tx, granted, now)) if granted else 0

    def _next(self, claim: Claim, now: datetime) -> Claim | None:
        return next_step(claim, self.sight.facts(claim.held, Facts(now, _NEVER, amnesty=True)))


def _waits_for(claim: Claim, nodes: Collection[NodeId]) -> bool:
    return claim.state is ClaimState.RESERVED and claim.held is not None and claim.held.node in nodes


def _written(tx: Transaction, steps: Collection[tuple[Claim, Claim]], now: datetime) -> int:
    same = [(before, after) for before, after in steps if tx.claims.get(before.id) == before]
    for before, after in same:
        put(tx, before, after, now)
    return len(same)
