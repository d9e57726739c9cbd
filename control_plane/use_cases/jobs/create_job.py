from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from control_plane.domain.errors import InvalidArgument, RateLimited, RequestIdReused
from control_plane.domain.ids import JobId, NodeId
from control_plane.domain.jobs.begin import swapped
from control_plane.domain.jobs.facts import Facts
from control_plane.domain.jobs.job import MAX_TIME_LIMIT, Job, JobKind, JobOrder
from control_plane.domain.jobs.steps import is_busy, next_step
from control_plane.domain.manifest import ManifestForm, ManifestRuntime
from control_plane.domain.model import Model
from control_plane.domain.node import Node
from control_plane.domain.runtime import NO_MODEL, Runtime
from control_plane.use_cases import announcements
from control_plane.use_cases.jobs.book import JobBook
from control_plane.use_cases.jobs.changes import against, carry_out, facts_of
from control_plane.use_cases.ports import Clock, Fleet, ManifestReader, ManifestWriter, Randomness, Store, Transaction
from control_plane.use_cases.rows import model_of, runtime_of
from control_plane.use_cases.runtime_sets import replicas_of

MAX_UNFINISHED = 1000


@dataclass(frozen=True, slots=True)
class _Seen:
    runtime: Runtime
    replicas: Sequence[Runtime]
    nodes: Mapping[NodeId, Node]
    """Where they lie."""
    model: Model | None
    """Of a swap: the new one."""


@dataclass(frozen=True, slots=True)
class CreateJob:
    """Take an order and begin with it, as one change. The same id with the same order is the same job.

    NotFound, InvalidArgument, ManifestInvalid when the settings of a swap do not go together, RequestIdReused when the
    id stands for another order, RateLimited with too many in hand. What hinders the order itself is told by the job,
    which then has failed.
    """

    store: Store
    fleet: Fleet
    clock: Clock
    randomness: Randomness
    reader: ManifestReader
    writer: ManifestWriter
    book: JobBook

    async def __call__(self, order: JobOrder, job: JobId | None = None, operator: str = "") -> Job:
        """`job`: None makes a new one."""
        _check_time(order.time_limit)
        known = await self.store.read(lambda tx: tx.jobs.get(job)) if job else None
        if known is not None:
            return _same(known, order)
        seen = await self.store.read(lambda tx: _seen(tx, order))
        made = self._made(order, job, operator, seen.runtime)
        if order.kind is JobKind.SWAP_MODEL:
            await self._check_swap(made, seen)
        await self.book.look()
        if len(self.book.unfinished()) >= MAX_UNFINISHED:
            raise RateLimited(
                f"{MAX_UNFINISHED} jobs are in hand.", "Wait for them, or cancel some: `arwctl jobs list`."
            )
        facts = self._facts(made, seen)
        return await self.store.write(lambda tx: _created(tx, made, seen, facts))

    def _made(self, order: JobOrder, job: JobId | None, operator: str, runtime: Runtime) -> Job:
        now = self.clock.now()
        name = job or JobId(self.randomness.uid())
        return Job(name, order, operator, runtime.uid, create_time=now, deadline=now + order.time_limit)

    def _facts(self, job: Job, seen: _Seen) -> Facts:
        objection = None
        if job.order.kind is JobKind.SWAP_MODEL:
            wanted, rows = swapped(seen.runtime.spec, job), (seen.runtime, *seen.replicas)
            objection = against(wanted, rows, seen.model, seen.nodes.get, self.fleet)
        busy, now = is_busy(job, self.book.unfinished()), self.clock.now()
        return facts_of(seen.runtime, self.fleet, now, objection=objection, busy=busy, replicas=seen.replicas)

    async def _check_swap(self, job: Job, seen: _Seen) -> None:
        """The same adapter has to run the new model with what is set."""
        before, new = seen.runtime.spec.model, job.order.model
        if before == NO_MODEL:
            text = f"Runtime {seen.runtime.id} runs no model of ours: its adapter is {seen.runtime.spec.adapter}."
            raise InvalidArgument(text, "Swap the model of a runtime that names one.", runtime=seen.runtime.id)
        known = await self.store.read(lambda tx: tx.models.get(before))
        if known is not None and seen.model is not None and known.format != seen.model.format:
            raise InvalidArgument(
                f"Model {new} is a {seen.model.format} file, and {seen.runtime.id} runs {known.format} files.",
                "Swap to a model of the same format, or declare another runtime for it.",
                model=new,
            )
        await asyncio.to_thread(self._check_spec, ManifestRuntime(seen.runtime.id, swapped(seen.runtime.spec, job)))

    def _check_spec(self, entry: ManifestRuntime) -> None:
        """By the rules of manifests, which know what goes together."""
        content = self.writer.written([entry], ManifestForm.JSON)
        self.reader.read(content, ManifestForm.JSON, f"The swap of {entry.id}")


def _seen(tx: Transaction, order: JobOrder) -> _Seen:
    runtime = runtime_of(tx, order.runtime)
    replicas = replicas_of(tx, runtime)
    nodes = (tx.nodes.get(row.node) for row in (runtime, *replicas) if row.node is not None)
    model = model_of(tx, order.model) if order.kind is JobKind.SWAP_MODEL else None
    return _Seen(runtime, replicas, {node.id: node for node in nodes if node is not None}, model)


def _created(tx: Transaction, job: Job, seen: _Seen, facts: Facts) -> Job:
    """Begins only with what it has seen; what changed meanwhile is left to the loop that runs the jobs."""
    known = tx.jobs.get(job.id)
    if known is not None:
        return _same(known, job.order)
    now = facts.now
    tx.jobs.put(job)
    tx.journal.append(announcements.job_created(job, now))
    step = next_step(job, facts) if tx.runtimes.get(job.order.runtime) == seen.runtime else None
    return job if step is None else carry_out(tx, step, facts)


def _same(job: Job, order: JobOrder) -> Job:
    if job.order != order:
        raise RequestIdReused(
            f"Job {job.id} is another one: {job.order.kind} of {job.order.runtime}.",
            "Make a new id for each new job, and repeat one only with the same order.",
            job=job.id,
        )
    return job


def _check_time(limit: timedelta) -> None:
    if not timedelta() < limit <= MAX_TIME_LIMIT:
        hours = MAX_TIME_LIMIT // timedelta(hours=1)
        raise InvalidArgument(
            f"A time limit of {limit.total_seconds():g} s is not possible.", f"At most {hours} hours."
        )
