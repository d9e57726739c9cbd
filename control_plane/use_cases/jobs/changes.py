"""Carrying out the steps of jobs, each in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from control_plane.domain.errors import NotFound
from control_plane.domain.event import Event
from control_plane.domain.ids import JobId, NodeId
from control_plane.domain.jobs.begin import Step, Touch
from control_plane.domain.jobs.facts import Facts
from control_plane.domain.jobs.job import Job, JobState
from control_plane.domain.model import Model
from control_plane.domain.node import Node
from control_plane.domain.placing.objections import objections
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import Runtime, RuntimeSpec
from control_plane.domain.runtime_set import following
from control_plane.use_cases import announcements, residence_events
from control_plane.use_cases.ports import Fleet, Transaction
from control_plane.use_cases.rows import runtime_of, save_runtime
from control_plane.use_cases.runtime_sets import replicas_of
from control_plane.use_cases.views import node_view, runtime_view

Nodes = Callable[[NodeId], Node | None]


def job_of(tx: Transaction, job: JobId) -> Job:
    row = tx.jobs.get(job)
    if row is None:
        raise no_job(job)
    return row


def no_job(job: JobId) -> NotFound:
    return NotFound(f"There is no job {job}.", "List the jobs to see which there are.", job=job)


def facts_of(
    runtime: Runtime | None,
    fleet: Fleet,
    now: datetime,
    *,
    objection: Problem | None = None,
    busy: bool = False,
    asked: bool = False,
    replicas: Iterable[Runtime] = (),
    amnesty: bool = False,
) -> Facts:
    """Only on the loop: the fleet lives there."""
    if runtime is None:
        return Facts(None, now)
    liveness = fleet.liveness(runtime.node) if runtime.node else None
    contact, online = (liveness.last_contact, liveness.online) if liveness else (None, False)
    others = tuple(runtime_view(replica, fleet) for replica in replicas)
    return Facts(runtime_view(runtime, fleet), now, contact, online, objection, busy, asked, others, amnesty)


def against(
    wanted: RuntimeSpec, rows: Iterable[Runtime], model: Model | None, nodes: Nodes, fleet: Fleet
) -> Problem | None:
    """Why a node where one of these lies would not do for it as it is wanted. Without a place nothing is known."""
    there = ((replace(row, spec=wanted), nodes(row.node)) for row in rows if row.node is not None)
    views = ((row, node_view(node, fleet)) for row, node in there if node is not None)
    return next((found for row, view in views for found in objections(row, model, view)), None)


def put(tx: Transaction, job: Job, now: datetime) -> Job:
    """Write a job as it goes on, and say so."""
    tx.jobs.put(job)
    tx.journal.append(announcements.job_changed(job, now))
    return job


def carry_out(tx: Transaction, step: Step, facts: Facts) -> Job:
    """NotFound when a model that the runtime is to have is gone."""
    now, touch = facts.now, step.touch
    if touch is not None and step.runtime is not None:
        before, saved = runtime_of(tx, step.runtime.id), save_runtime(tx, step.runtime, now)
        tx.journal.append(_said(touch, saved, step.job, now))
        serves = touch is Touch.RESTORE and step.job.state is JobState.SUCCEEDED
        if serves and facts.view is not None and facts.view.instance is not None:
            tx.journal.append(announcements.restore_completed(facts.view.instance, now))
        heed = touch is not Touch.DECLARE
        _follow(tx, before, saved, now, lambda row: _said(touch, row, step.job, now), heed=heed)
    return put(tx, step.job, now)


def _follow(
    tx: Transaction, before: Runtime, head: Runtime, now: datetime, say: Callable[[Runtime], Event], *, heed: bool
) -> None:
    """What is done to a head is done to its replicas. `heed`: also whether they run."""
    for row in replicas_of(tx, head):
        after = following(head, row, row.id, now, heed=heed)
        if head.restore.serial != before.restore.serial:
            after = replace(after, restore=replace(head.restore, serial=row.restore.serial + 1))
        if after != row:
            tx.journal.append(say(save_runtime(tx, after, now)))


def _said(touch: Touch, runtime: Runtime, job: Job, now: datetime) -> Event:
    match touch:
        case Touch.RESTORE:
            return announcements.restore_requested(runtime, now, "job", job_id=job.id)
        case Touch.SHUTDOWN:
            return announcements.of_runtime("runtime.shutdown.requested", runtime.id, now, job_id=job.id)
        case Touch.WAKE:
            return residence_events.wake_requested(runtime, now, "job", job_id=job.id)
        case Touch.DECLARE:
            return announcements.declared(runtime, now, "updated")
