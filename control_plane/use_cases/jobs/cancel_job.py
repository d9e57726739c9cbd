from __future__ import annotations

from dataclasses import dataclass, replace

from control_plane.domain.ids import JobId
from control_plane.domain.jobs.job import Job
from control_plane.use_cases.jobs.changes import job_of, put
from control_plane.use_cases.ports import Clock, Store, Transaction


@dataclass(frozen=True, slots=True)
class CancelJob:
    """Ask a job to end: a swap is rolled back, what else was ordered of a node stays so. NotFound.

    One that is over stays as it is.
    """

    store: Store
    clock: Clock

    async def __call__(self, job: JobId) -> Job:
        return await self.store.write(lambda tx: self._asked(tx, job))

    def _asked(self, tx: Transaction, job: JobId) -> Job:
        row = job_of(tx, job)
        if row.state.over or row.cancel_requested:
            return row
        return put(tx, replace(row, cancel_requested=True), self.clock.now())
