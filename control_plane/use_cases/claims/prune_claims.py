from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from control_plane.domain.ids import ClaimId
from control_plane.use_cases.ports import Clock, Store, Transaction
from control_plane.use_cases.retention import Retention

RETENTION = Retention(timedelta(days=1), 10_000)


@dataclass(frozen=True, slots=True)
class PruneClaims:
    """Forget claims that ended more than a day ago, and all but the newest ten thousand; returns how many.

    A request id is known for as long as its claim is.
    """

    store: Store
    clock: Clock

    async def __call__(self) -> int:
        now = self.clock.now()
        if not await self.store.read(lambda tx: _old(tx, now)):
            return 0
        return await self.store.write(lambda tx: _forgotten(tx, now))


def _old(tx: Transaction, now: datetime) -> Sequence[ClaimId]:
    return RETENTION.outlived(((row.end_time, row.id) for row in tx.claims.all()), now)


def _forgotten(tx: Transaction, now: datetime) -> int:
    old = _old(tx, now)
    for claim in old:
        tx.claims.delete(claim)
        tx.claim_leases.delete(claim)
    return len(old)
