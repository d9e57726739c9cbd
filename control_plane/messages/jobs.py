from __future__ import annotations

from datetime import timedelta

from arw.v1 import instance_pb2, runtime_pb2
from arw.v1 import job_pb2 as pb
from control_plane.domain.errors import InvalidArgument
from control_plane.domain.ids import ModelId, RuntimeId, parsed, resource_name
from control_plane.domain.jobs.job import Job, JobKind, JobOrder, Probed
from control_plane.domain.runtime import EngineSettings
from control_plane.messages.instances import severity_to_proto
from control_plane.messages.problems import problem_to_proto
from control_plane.messages.runtimes import settings_to_proto
from control_plane.messages.times import duration_from_proto, duration_to_proto, time_to_proto

_KINDS = {
    "restore": JobKind.RESTORE,
    "shutdown": JobKind.SHUTDOWN,
    "ensure_ready": JobKind.ENSURE_READY,
    "health_probe": JobKind.HEALTH_PROBE,
    "swap_model": JobKind.SWAP_MODEL,
}


def order_from_proto(message: pb.JobOrder) -> JobOrder:
    """InvalidArgument, InvalidId."""
    task = message.WhichOneof("task")
    if task is None:
        raise InvalidArgument("The order says nothing that is known here.", "Name one task; update the control plane.")
    kind = _KINDS[task]
    swap = message.swap_model
    return JobOrder(
        kind,
        RuntimeId(parsed(message.runtime, "runtimes", "runtime")),
        _limit(message, kind),
        restart=message.restore.restart,
        reset_budget=message.restore.reset_budget,
        model=ModelId(parsed(swap.model, "models", "model") if kind is JobKind.SWAP_MODEL else ""),
        settings=settings_from_proto(swap.settings),
    )


def job_to_proto(job: Job) -> pb.Job:
    return pb.Job(
        name=resource_name("jobs", job.id),
        id=job.id,
        kind=job.order.kind.value,
        order=_order_to_proto(job.order),
        state=pb.JobState.Value(f"JOB_STATE_{job.state.name}"),
        state_slug=job.state.value,
        state_label=job.state.label,
        progress_percent=job.progress_percent,
        summary=job.summary,
        problem=problem_to_proto(job.problem),
        create_time=time_to_proto(job.create_time),
        start_time=time_to_proto(job.start_time),
        end_time=time_to_proto(job.end_time),
        deadline=time_to_proto(job.deadline),
        cancel_requested=job.cancel_requested,
        operator=job.operator,
        health_probe=_probed_to_proto(job.probed),
        swap_model=_swap_to_proto(job),
    )


def settings_from_proto(message: runtime_pb2.EngineSettings) -> EngineSettings:
    """What the message leaves out is None."""
    said = {field.name: value for field, value in message.ListFields()}
    prompts = tuple(said.pop("warm_up_prompts", ()))
    return EngineSettings(**said, warm_up_prompts=prompts or None)


def _limit(message: pb.JobOrder, kind: JobKind) -> timedelta:
    return duration_from_proto(message.time_limit) if message.HasField("time_limit") else kind.time_limit


def _order_to_proto(order: JobOrder) -> pb.JobOrder:
    made = pb.JobOrder(runtime=resource_name("runtimes", order.runtime), time_limit=duration_to_proto(order.time_limit))
    match order.kind:
        case JobKind.RESTORE:
            made.restore.CopyFrom(pb.RestoreTask(restart=order.restart, reset_budget=order.reset_budget))
        case JobKind.SHUTDOWN:
            made.shutdown.SetInParent()
        case JobKind.ENSURE_READY:
            made.ensure_ready.SetInParent()
        case JobKind.HEALTH_PROBE:
            made.health_probe.SetInParent()
        case JobKind.SWAP_MODEL:
            settings = settings_to_proto(order.settings) if order.settings != EngineSettings() else None
            task = pb.SwapModelTask(model=resource_name("models", order.model), settings=settings)
            made.swap_model.CopyFrom(task)
    return made


def _probed_to_proto(found: Probed | None) -> pb.HealthProbeResult | None:
    if found is None:
        return None
    return pb.HealthProbeResult(
        state=instance_pb2.InstanceState.Value(f"INSTANCE_STATE_{found.state.name}"),
        state_slug=found.state.value,
        state_label=found.state.label,
        severity=severity_to_proto(found.severity),
        severity_label=found.severity.label,
        summary=found.summary,
        detail=found.detail,
        node=resource_name("nodes", found.node) if found.node else "",
        incarnation=found.incarnation,
        latency=duration_to_proto(found.latency),
        report_time=time_to_proto(found.report_time),
        contact_time=time_to_proto(found.contact_time),
        fresh=found.fresh,
    )


def _swap_to_proto(job: Job) -> pb.SwapModelResult | None:
    if job.order.kind is not JobKind.SWAP_MODEL or not job.state.over:
        return None
    before = resource_name("models", job.previous.model) if job.previous else ""
    return pb.SwapModelResult(previous_model=before, rolled_back=job.rolled_back)
