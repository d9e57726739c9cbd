"""What a job does next. Each step is one change of job and runtime together, so that none is ever done by half."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from control_plane.domain.declaration import redeclared
from control_plane.domain.jobs.begin import Step, Touch, begun
from control_plane.domain.jobs.ends import badly_ended, ended, finding, well_ended
from control_plane.domain.jobs.facts import Facts, whole
from control_plane.domain.jobs.job import Job, JobKind, JobStage, JobState, Seen
from control_plane.domain.jobs.standing import arrived, failed, late, line, lost, percent, settles
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
        return _cancelled(job, facts, view)
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
    return None if facts.busy else begun(_started(job, facts, view), facts, view)


def _started(job: Job, facts: Facts, view: RuntimeView) -> Job:
    return replace(
        job,
        state=JobState.RUNNING,
        start_time=facts.now,
        progress_percent=5,
        summary=line(view),
        seen=Seen.of(view.instance),
        replicas_seen=_seen(facts),
    )


def _awaited(job: Job, facts: Facts, view: RuntimeView) -> Step | None:
    now, judged = facts.now, whole(job, facts, view)
    if all(arrived(one, each, now) for one, each in judged):
        return Step(well_ended(job, view, now))
    waited = next(each for one, each in judged if not arrived(one, each, now))
    problem = next(filter(None, (failed(one, each, now) for one, each in judged)), None) or late(job, facts, waited)
    if problem is None:
        since = (job.settle_time or now) if all(settles(each) for _, each in judged) else None
        told = replace(job, summary=_told(job, waited), progress_percent=percent(job, waited), settle_time=since)
        return None if told == job else Step(told)
    if job.stage is JobStage.ROLLING_BACK:
        return Step(badly_ended(job, problem, now))
    if job.previous is not None:
        return _rolling_back(replace(job, problem=problem), job.previous, facts, view)
    return Step(ended(job, JobState.FAILED, now, problem))


def _seen(facts: Facts) -> tuple[Seen, ...]:
    seen = (Seen.of(each.instance) for each in facts.replicas)
    return tuple(each for each in seen if each is not None)


def _told(job: Job, view: RuntimeView) -> str:
    """`view`: of the one that is waited for."""
    replica = view.runtime.replica_of and view.runtime.id != job.order.runtime
    said = f"{view.runtime.id}: {line(view)}" if replica else line(view)
    return said if job.stage is JobStage.FORWARD else f"{_reason(job)} Rolling back: {said}"


def _reason(job: Job) -> str:
    return job.problem.text if job.problem else "Cancelled."


def _cancelled(job: Job, facts: Facts, view: RuntimeView) -> Step:
    """What was ordered of the node is left as it is; a swap is taken back."""
    if job.previous is not None:
        return _rolling_back(job, job.previous, facts, view)
    return Step(ended(job, JobState.CANCELLED, facts.now, summary="Cancelled."))


def _rolling_back(job: Job, previous: RuntimeSpec, facts: Facts, view: RuntimeView) -> Step:
    """The restarts that the new model cost are not held against the one before."""
    runtime = view.runtime
    job = replace(
        job,
        stage=JobStage.ROLLING_BACK,
        settle_time=None,
        deadline=facts.now + job.order.time_limit,
        generation=runtime.generation + 1,
        seen=Seen.of(view.instance),
        replicas_seen=_seen(facts),
    )
    back = replace(redeclared(runtime, previous), restore=_fresh_budget(runtime))
    said = f"{_reason(job)} Rolling back."
    return Step(replace(job, summary=said, progress_percent=75), Touch.DECLARE, back)


def _fresh_budget(runtime: Runtime) -> RestoreOrder:
    return RestoreOrder(runtime.restore.serial + 1, restart=False, reset_budget=True)


def _probed(job: Job, facts: Facts, view: RuntimeView) -> Step | None:
    """A node that cannot look, or does not in time, has to be heard after the order: then what it told last counts."""
    instance, contact = view.instance, facts.contact
    fresh = facts.online and instance is not None and job.id in instance.answered_probes
    heard = facts.online and contact is not None and contact > job.create_time
    if fresh and instance is not None and not heard:
        contact, heard = instance.update_time, True
    waits = facts.asked and not fresh and facts.now < job.deadline
    if instance is None or (heard and not waits):
        found = replace(finding(view, contact if heard else None), fresh=fresh)
        return Step(replace(ended(job, JobState.SUCCEEDED, facts.now, summary=line(view)), probed=found))
    problem = late(job, facts, view)
    return Step(ended(job, JobState.FAILED, facts.now, problem)) if problem else None
