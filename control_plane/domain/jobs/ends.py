"""How jobs end."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from control_plane.domain.jobs.job import Job, JobStage, JobState, Probed
from control_plane.domain.jobs.standing import line
from control_plane.domain.problem import Problem
from control_plane.domain.view import RuntimeView


def ended(job: Job, state: JobState, now: datetime, problem: Problem | None = None, summary: str = "") -> Job:
    said = problem.text if problem else ""
    done = 100 if state is JobState.SUCCEEDED else job.progress_percent
    return replace(job, state=state, end_time=now, problem=problem, summary=summary or said, progress_percent=done)


def well_ended(job: Job, view: RuntimeView, now: datetime) -> Job:
    if job.stage is JobStage.FORWARD:
        return ended(job, JobState.SUCCEEDED, now, summary=line(view))
    before = f"{view.runtime.spec.model} serves again."
    if job.cancel_requested and job.problem is None:
        return replace(ended(job, JobState.CANCELLED, now, summary=f"Cancelled. {before}"), rolled_back=True)
    said = f"{job.problem.text if job.problem else ''} {before}".strip()
    return replace(ended(job, JobState.FAILED, now, job.problem, said), rolled_back=True)


def badly_ended(job: Job, problem: Problem, now: datetime) -> Job:
    """Its first problem counts; without one it was cancelled."""
    why, before = job.problem.text if job.problem else "Cancelled.", job.previous.model if job.previous else ""
    said = f"{why} {before} is declared again, and does not serve: {problem.text}"
    return replace(ended(job, JobState.FAILED, now, job.problem or problem, said), rolled_back=False)


def finding(view: RuntimeView, contact: datetime | None) -> Probed:
    instance = view.instance
    if instance is None:
        return Probed(view.state, view.severity, view.summary)
    return Probed(
        instance.state,
        instance.severity,
        view.summary,
        instance.detail,
        instance.node,
        instance.incarnation,
        instance.health.probe_latency if instance.health else None,
        instance.update_time,
        contact,
    )
