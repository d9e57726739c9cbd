from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from control_plane.domain.ids import JobId
from control_plane.domain.job import Job
from control_plane.use_cases.ports import Store, Transaction


class JobBook:
    """Every job in memory, as of the last look. One for all who follow them; only on the loop.

    A look costs what changed since the one before, not what there is.
    """

    def __init__(self, store: Store) -> None:
        self.jobs: dict[JobId, Job] = {}
        self._store = store
        self._revision = -1
        self._one_at_a_time = asyncio.Lock()

    async def look(self) -> None:
        """Take in everything committed before the call. StorageUnavailable; then all is as before."""
        async with self._one_at_a_time:
            self._revision, news = await self._store.read(self._news)
            for job, row in news.items():
                if row is None:
                    self.jobs.pop(job, None)
                else:
                    self.jobs[job] = row

    def unfinished(self) -> Sequence[Job]:
        """In the order in which they were asked for."""
        return in_order(job for job in self.jobs.values() if not job.state.over)

    def _news(self, tx: Transaction) -> tuple[int, dict[JobId, Job | None]]:
        """The newest revision, and each job that changed; None for one that is gone."""
        revision = tx.revision()
        if revision == self._revision:
            return revision, {}
        if self._revision < max(0, tx.compacted_revision()):
            gone: dict[JobId, Job | None] = dict.fromkeys(self.jobs)
            return revision, gone | {row.id: row for row in tx.jobs.all()}
        changed = {JobId(change.name) for change in tx.changes(self._revision) if change.kind == "jobs"}
        return revision, {job: tx.jobs.get(job) for job in changed}


def in_order(jobs: Iterable[Job]) -> list[Job]:
    """As they were asked for."""
    return sorted(jobs, key=lambda job: (job.create_time, job.id))
