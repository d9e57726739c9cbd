"""Carrying out the steps of jobs, each in one transaction."""

from __future__ import annotations

from datetime import datetime

from control_plane.domain.errors import NotFound
from control_plane.domain.event import Event
from control_plane.domain.ids import JobId
from control_plane.domain.job import Job, JobState
from control_plane.domain.job_begin import Step, Touch
from control_plane.domain.job_facts import Facts
from control_plane.domain.model import Model
from control_plane.domain.node import Node
from control_plane.domain.objections import objections
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import Runtime
from control_plane.use_cases import announcements
from control_plane.use_cases.ports import Fleet, Transaction
from control_plane.use_cases.rows import save_runtime
from control_plane.use_cases.views import node_view, runtime_view


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
    amnesty: bool = False,
) -> Facts:
    """Only on the loop: the fleet lives there."""
    if runtime is None:
        return Facts(None, now)
    liveness = fleet.liveness(runtime.node) if runtime.node else None
    contact, online = (liveness.last_contact, liveness.online) if liveness else (None, False)
    return Facts(runtime_view(runtime, fleet), now, contact, online, objection, busy, amnesty)


def against(wanted: Runtime, model: Model | None, node: Node | None, fleet: Fleet) -> Problem | None:
    """Why the node where a runtime lies would not do for it as it is wanted. Without a place nothing is known."""
    return next(objections(wanted, model, node_view(node, fleet)), None) if node is not None else None


def put(tx: Transaction, job: Job, now: datetime) -> Job:
    """Write a job as it goes on, and say so."""
    tx.jobs.put(job)
    tx.journal.append(announcements.job_changed(job, now))
    return job


def carry_out(tx: Transaction, step: Step, facts: Facts) -> Job:
    """NotFound when a model that the runtime is to have is gone."""
    now = facts.now
    if step.touch is not None and step.runtime is not None:
        saved = save_runtime(tx, step.runtime, now)
        tx.journal.append(_said(step.touch, saved, step.job, now))
        serves = step.touch is Touch.RESTORE and step.job.state is JobState.SUCCEEDED
        if serves and facts.view is not None and facts.view.instance is not None:
            tx.journal.append(announcements.restore_completed(facts.view.instance, now))
    return put(tx, step.job, now)


def _said(touch: Touch, runtime: Runtime, job: Job, now: datetime) -> Event:
    match touch:
        case Touch.RESTORE:
            return announcements.restore_requested(runtime, now, "job", job_id=job.id)
        case Touch.SHUTDOWN:
            return announcements.of_runtime("runtime.shutdown.requested", runtime.id, now, job_id=job.id)
        case Touch.DECLARE:
            return announcements.declared(runtime, now, "updated")
