from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from control_plane.domain.ids import JobId
from control_plane.domain.jobs.job import Job
from control_plane.use_cases.jobs.book import JobBook, in_order
from control_plane.use_cases.jobs.changes import job_of, no_job
from control_plane.use_cases.paging import Page, page_of
from control_plane.use_cases.ports import Clock, Store

SHOWN = 200
"""Of those that are over, in the read model."""


@dataclass(frozen=True, slots=True)
class GetJob:
    """NotFound."""

    store: Store

    async def __call__(self, job: JobId) -> Job:
        return await self.store.read(lambda tx: job_of(tx, job))


@dataclass(frozen=True, slots=True)
class ListJobs:
    """In id order. PageTokenInvalid."""

    store: Store

    async def __call__(self, page_size: int = 0, page_token: str = "") -> Page[Job]:
        return await self.store.read(lambda tx: page_of(tx.jobs, "jobs", page_size, page_token))


@dataclass(frozen=True, slots=True)
class WatchJob:
    """The job now, then after each change until it is over. A slow watcher skips to the newest. NotFound."""

    store: Store
    book: JobBook

    async def __call__(self, job: JobId) -> AsyncIterator[Job]:
        bell = asyncio.Event()
        stop = self.store.on_change(lambda _: bell.set())
        sent: Job | None = None
        try:
            while sent is None or not sent.state.over:
                await self.book.look()
                if (found := self.book.jobs.get(job)) is None:
                    raise no_job(job)
                if found != sent:
                    sent = found
                    yield found
                    continue
                await bell.wait()
                bell.clear()
        finally:
            stop()


@dataclass(frozen=True, slots=True)
class Jobs:
    """A read model: those in hand and the newest that are over, the newest first."""

    jobs: Sequence[Job]
    update_time: datetime


@dataclass(frozen=True, slots=True)
class GetJobs:
    book: JobBook
    clock: Clock

    async def __call__(self) -> Jobs:
        await self.book.look()
        over = in_order(job for job in self.book.jobs.values() if job.state.over)[-SHOWN:]
        return Jobs(tuple(reversed(in_order([*over, *self.book.unfinished()]))), self.clock.now())
