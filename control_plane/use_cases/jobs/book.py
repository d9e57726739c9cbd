from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from control_plane.domain.ids import JobId
from control_plane.domain.jobs.job import Job
from control_plane.use_cases.change_log import ChangeLog, Named, put
from control_plane.use_cases.ports import Store, Transaction


class JobBook:
    """Every job in memory, as of the last look. One for all who follow them; only on the loop.

    A look costs what changed since the one before, not what there is.
    """

    def __init__(self, store: Store) -> None:
        self.jobs: dict[JobId, Job] = {}
        self._log = ChangeLog(store, self._news)

    async def look(self) -> None:
        """Take in everything committed before the call. StorageUnavailable; then all is as before."""
        async with self._log.look() as news:
            put(self.jobs, news or {})

    def unfinished(self) -> Sequence[Job]:
        """In the order in which they were asked for."""
        return in_order(job for job in self.jobs.values() if not job.state.over)

    def _news(self, tx: Transaction, named: Named) -> Mapping[JobId, Job | None]:
        return named.rows("jobs", tx.jobs, JobId, self.jobs)


def in_order(jobs: Iterable[Job]) -> list[Job]:
    """As they were asked for."""
    return sorted(jobs, key=lambda job: (job.create_time, job.id))
