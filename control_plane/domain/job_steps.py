"""What a job does next. Each step is one change of job and runtime together, so that none is ever done by half."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from control_plane.domain.job import Job, JobKind, JobStage, JobState, Seen
from control_plane.domain.job_begin import Step, Touch, begun, redeclared
from control_plane.domain.job_ends import badly_ended, ended, finding, well_ended
from control_plane.domain.job_facts import Facts
from control_plane.domain.job_standing import arrived, failed, late, line, lost, percent, settles
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import RestoreOrder, Runtime, RuntimeSpec
from control_plane.domain.view import RuntimeView


def next_step(job: Job, facts: Facts) -> Step | None:
    """None: there is nothing to do but to wait, or it is over."""
    if job.state.over:
        return None
    view, now = facts.view, facts.now
    taken = lost(job, view)
    if taken is not None or view is None:
        return Step(ended(job, JobState.ABORTED, now, taken))
    if job.cancel_requested and job.stage is JobStage.FORWARD:
        return _cancelled(job, view, now)
    if job.state is JobState.QUEUED:
        return _queued(job, facts, view)
    return _probed(job, facts, view) if job.order.kind is JobKind.HEALTH_PROBE else _awaited(job, facts, view)


def is_busy(job: Job, others: Iterable[Job]) -> bool:
    """Whether an earlier one has the runtime to itself. A shutdown and a probe never wait."""
    if job.order.kind in (JobKind.SHUTDOWN, JobKind.HEALTH_PROBE):
        return False
    swaps = (one for one in others if one.order.kind is JobKind.SWAP_MODEL and one.order.runtime == job.order.runtime)
    return any((one.create_time, one.id) < (job.create_time, job.id) for one in swaps if not one.state.over)


def _queued(job: Job, facts: Facts, view: RuntimeView) -> Step | None:
    if facts.now >= job.deadline and not facts.amnesty:
        problem = Problem("IN_USE", "Its time was over before the jobs before it were.", "Order it again.")
        return Step(ended(job, JobState.FAILED, facts.now, problem))
    return None if facts.busy else begun(_started(job, view, facts.now), facts, view)


def _started(job: Job, view: RuntimeView, now: datetime) -> Job:
    return replace(
        job,
        state=JobState.RUNNING,
        start_time=now,
        progress_percent=5,
        summary=line(view),
        seen=Seen.of(view.instance),
    )


def _awaited(job: Job, facts: Facts, view: RuntimeView) -> Step | None:
    now = facts.now
    if arrived(job, view, now):
        return Step(well_ended(job, view, now))
    problem = failed(job, view, now) or late(job, facts, view)
    if problem is None:
        since = (job.settle_time or now) if settles(view) else None
        told = replace(job, summary=_told(job, view), progress_percent=percent(job, view), settle_time=since)
        return None if told == job else Step(told)
    if job.stage is JobStage.ROLLING_BACK:
        return Step(badly_ended(job, problem, now))
    if job.previous is not None:
        return _rolling_back(replace(job, problem=problem), job.previous, view, now)
    return Step(ended(job, JobState.FAILED, now, problem))


def _told(job: Job, view: RuntimeView) -> str:
    if job.stage is JobStage.FORWARD:
        return line(view)
    return f"{_reason(job)} Rolling back: {line(view)}"


def _reason(job: Job) -> str:
    return job.problem.text if job.problem else "Cancelled."


def _cancelled(job: Job, view: RuntimeView, now: datetime) -> Step:
    """What was ordered of the node is left as it is; a swap is taken back."""
    if job.previous is not None:
        return _rolling_back(job, job.previous, view, now)
    return Step(ended(job, JobState.CANCELLED, now, summary="Cancelled."))


def _rolling_back(job: Job, previous: RuntimeSpec, view: RuntimeView, now: datetime) -> Step:
    """The restarts that the new model cost are not held against the one before."""
    runtime = view.runtime
    job = replace(
        job,
        stage=JobStage.ROLLING_BACK,
        settle_time=None,
        deadline=now + job.order.time_limit,
        generation=runtime.generation + 1,
        seen=Seen.of(view.instance),
    )
    back = replace(redeclared(runtime, previous), restore=_fresh_budget(runtime))
    said = f"{_reason(job)} Rolling back."
    return Step(replace(job, summary=said, progress_percent=75), Touch.DECLARE, back)


def _fresh_budget(runtime: Runtime) -> RestoreOrder:
    return RestoreOrder(runtime.restore.serial + 1, restart=False, reset_budget=True)


def _probed(job: Job, facts: Facts, view: RuntimeView) -> Step | None:
    """A report counts when its node was heard after the probe was asked for."""
    heard = facts.online and facts.contact is not None and facts.contact > job.create_time
    if view.instance is None or heard:
        found = finding(view, facts.contact if heard else None)
        return Step(replace(ended(job, JobState.SUCCEEDED, facts.now, summary=line(view)), probed=found))
    problem = late(job, facts, view)
    return Step(ended(job, JobState.FAILED, facts.now, problem)) if problem else None
