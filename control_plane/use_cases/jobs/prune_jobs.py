from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from control_plane.domain.ids import JobId
from control_plane.use_cases.ports import Clock, Store, Transaction
from control_plane.use_cases.retention import Retention

RETENTION = Retention(timedelta(days=7), 1000)


@dataclass(frozen=True, slots=True)
class PruneJobs:
    """Forget jobs that ended more than a week ago, and all but the newest thousand; returns how many."""

    store: Store
    clock: Clock

    async def __call__(self) -> int:
        now = self.clock.now()
        if not await self.store.read(lambda tx: _old(tx, now)):
            return 0
        return await self.store.write(lambda tx: _forgotten(tx, now))


def _old(tx: Transaction, now: datetime) -> Sequence[JobId]:
    return RETENTION.outlived(((job.end_time, job.id) for job in tx.jobs.all()), now)


def _forgotten(tx: Transaction, now: datetime) -> int:
    old = _old(tx, now)
    for job in old:
        tx.jobs.delete(job)
    return len(old)
