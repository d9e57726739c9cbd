from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from control_plane.domain.jobs.job import Job, JobKind, Probed
from control_plane.domain.runtime import EngineSettings
from control_plane.http import job_shapes
from control_plane.http.convert import stamp
from control_plane.http.shapes import Told
from control_plane.use_cases.jobs.read_jobs import Jobs

_LABELS = {
    JobKind.RESTORE: "Restore {runtime}",
    JobKind.SHUTDOWN: "Shut {runtime} down",
    JobKind.ENSURE_READY: "Make sure that {runtime} serves",
    JobKind.HEALTH_PROBE: "See how {runtime} is",
    JobKind.SWAP_MODEL: "Give {runtime} the model {model}",
}


def jobs_to_json(of: Jobs) -> job_shapes.OrchestratorJobs:
    return job_shapes.OrchestratorJobs(updated_at=stamp(of.update_time), jobs=[_job(job) for job in of.jobs])


def _job(of: Job) -> job_shapes.Job:
    order, problem = of.order, of.problem
    return job_shapes.Job(
        id=of.id,
        category="runtime",
        kind=order.kind,
        label=_LABELS[order.kind].format(runtime=order.runtime, model=order.model),
        runtime=order.runtime,
        state=of.state,
        state_label=of.state.label,
        progress=of.progress_percent / 100,
        summary=of.summary,
        payload=_payload(of),
        created=stamp(of.create_time),
        deadline=stamp(of.deadline),
        started=_stamp(of.start_time),
        ended=_stamp(of.end_time),
        operator=of.operator,
        cancel_requested=of.cancel_requested,
        problem=Told(reason=problem.reason, text=problem.text, remedy=problem.remedy) if problem else None,
        previous_model=of.previous.model if of.previous else "",
        rolled_back=of.rolled_back,
        health=_health(of.probed) if of.probed else None,
    )


def _payload(of: Job) -> dict[str, Any]:
    order = of.order
    said: dict[str, Any] = {"time_limit_seconds": order.time_limit.total_seconds()}
    match order.kind:
        case JobKind.RESTORE:
            said |= {"restart": order.restart, "reset_budget": order.reset_budget}
        case JobKind.SWAP_MODEL:
            settings = {name: getattr(order.settings, name) for name in EngineSettings.__slots__}
            said |= {
                "model": order.model,
                "settings": {key: value for key, value in settings.items() if value is not None},
            }
        case JobKind.SHUTDOWN | JobKind.ENSURE_READY | JobKind.HEALTH_PROBE:
            pass
    return said


def _health(of: Probed) -> job_shapes.HealthFound:
    return job_shapes.HealthFound(
        state=of.state,
        state_label=of.state.label,
        severity=of.severity,
        severity_label=of.severity.label,
        summary=of.summary,
        detail=list(of.detail),
        node=of.node,
        incarnation=of.incarnation,
        latency_ms=of.latency / timedelta(milliseconds=1) if of.latency is not None else None,
        reported=_stamp(of.report_time),
        heard=_stamp(of.contact_time),
        fresh=of.fresh,
    )


def _stamp(at: datetime | None) -> str | None:
    return stamp(at) if at else None
