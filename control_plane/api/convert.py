"""Requests and answers of the operator services. What both edges speak lies in control_plane.messages."""

from __future__ import annotations

from datetime import datetime, timedelta

from google.protobuf.struct_pb2 import Struct

from arw.v1 import event_pb2, model_pb2, model_service_pb2, runtime_matrix_pb2, runtime_service_pb2
from control_plane.domain.errors import InvalidArgument
from control_plane.domain.event import Event
from control_plane.domain.ids import JobId, ModelId, NodeId, RuntimeId, TokenId, parsed, resource_name
from control_plane.domain.instance import RestartBudget
from control_plane.domain.manifest import ManifestForm
from control_plane.domain.matrix import HttpFigures, Matrix, MatrixEntry
from control_plane.domain.model import Model
from control_plane.domain.placing.verdict import Verdict
from control_plane.domain.rollup import RuntimeRollup
from control_plane.domain.supervisor import Descriptor, Snapshot, Status
from control_plane.messages.models import part_from_proto, part_to_proto
from control_plane.messages.problems import problem_to_proto
from control_plane.messages.times import duration_to_proto, time_to_proto
from control_plane.use_cases.create_model import NewModel

_FORMS = {
    runtime_service_pb2.MANIFEST_FORMAT_TOML: ManifestForm.TOML,
    runtime_service_pb2.MANIFEST_FORMAT_JSON: ManifestForm.JSON,
}


def node_id(name: str) -> NodeId:
    return NodeId(parsed(name, "nodes", "node"))


def runtime_id(name: str) -> RuntimeId:
    return RuntimeId(parsed(name, "runtimes", "runtime"))


def model_id(name: str) -> ModelId:
    return ModelId(parsed(name, "models", "model"))


def job_id(name: str) -> JobId:
    return JobId(parsed(name, "jobs", "job"))


def token_id(name: str) -> TokenId:
    return TokenId(parsed(name, "joinTokens", "join token"))


def form_from_proto(value: runtime_service_pb2.ManifestFormat.ValueType) -> ManifestForm:
    if value not in _FORMS:
        raise InvalidArgument("The manifest's format is not known.", "Say TOML or JSON.")
    return _FORMS[value]


def verdict_to_proto(verdict: Verdict) -> runtime_service_pb2.PlacementVerdict:
    problems = (problem_to_proto(problem) for problem in verdict.problems)
    return runtime_service_pb2.PlacementVerdict(
        node=resource_name("nodes", verdict.node),
        chosen=verdict.chosen,
        problems=[problem for problem in problems if problem],
        score=verdict.score,
        score_reasons=verdict.score_reasons,
    )


def model_to_proto(model: Model) -> model_pb2.Model:
    return model_pb2.Model(
        name=resource_name("models", model.id),
        id=model.id,
        uid=model.uid,
        etag=model.etag,
        path=model.path,
        sha256=model.sha256,
        size_bytes=model.size_bytes,
        format=model.format,
        create_time=time_to_proto(model.create_time),
        projector=part_to_proto(model.projector),
    )


def new_model_from_proto(request: model_service_pb2.CreateModelRequest) -> NewModel:
    wish = request.model
    projector = part_from_proto(wish.projector) if wish.HasField("projector") else None
    return NewModel(model_id(request.model_id), wish.path, wish.sha256, wish.size_bytes, wish.format, projector)


def event_to_proto(event: Event) -> event_pb2.Event:
    payload = Struct()
    payload.update(event.payload)
    return event_pb2.Event(
        id=event.id,
        time=time_to_proto(event.time),
        kind=event.kind,
        subject=event.subject,
        payload=payload,
        dedup_key=event.key,
    )


def matrix_to_proto(matrix: Matrix) -> runtime_matrix_pb2.RuntimeMatrix:
    return runtime_matrix_pb2.RuntimeMatrix(
        items={node: _entry_to_proto(entry) for node, entry in matrix.items.items()},
        ttl_seconds=matrix.ttl_seconds,
        update_time=time_to_proto(matrix.update_time),
    )


def supervisor_to_proto(snapshot: Snapshot, now: datetime) -> runtime_matrix_pb2.SupervisorSnapshot:
    runtimes = (
        runtime_matrix_pb2.SupervisorRuntime(
            descriptor=_descriptor_to_proto(row.descriptor), status=_status_to_proto(row.status, now)
        )
        for row in snapshot.rows
    )
    return runtime_matrix_pb2.SupervisorSnapshot(
        update_time=time_to_proto(snapshot.update_time),
        runtimes=runtimes,
        control_plane_pid=snapshot.control_plane_pid,
        agent_pid=snapshot.agent_pid,
        version=snapshot.version,
    )


def _entry_to_proto(entry: MatrixEntry) -> runtime_matrix_pb2.RuntimeMatrixEntry:
    status = entry.status
    return runtime_matrix_pb2.RuntimeMatrixEntry(
        target=entry.target,
        status=runtime_matrix_pb2.RuntimeMatrixStatus(
            code=status.code.value,
            severity=status.severity.value,
            severity_label=status.severity.label,
            label=status.label,
            detail=status.detail,
            aria_hint=status.aria_hint,
        ),
        generate_time=time_to_proto(entry.generate_time),
        runtime=_rollup_to_proto(entry.runtime),
        http=_http_to_proto(entry.http),
    )


def _rollup_to_proto(rollup: RuntimeRollup) -> runtime_matrix_pb2.RuntimeRollup:
    groups = {
        label: runtime_matrix_pb2.AcceleratorRollup(total=group.total, states=group.states)
        for label, group in rollup.by_accelerator.items()
    }
    return runtime_matrix_pb2.RuntimeRollup(
        total=rollup.total,
        update_time=time_to_proto(rollup.update_time),
        states=rollup.states,
        severity=rollup.severity,
        alerts=rollup.alerts,
        restart_pressure=rollup.restart_pressure,
        by_accelerator=groups,
    )


def _http_to_proto(figures: HttpFigures | None) -> runtime_matrix_pb2.HttpRollup | None:
    if figures is None:
        return None
    return runtime_matrix_pb2.HttpRollup(
        window=duration_to_proto(figures.window),
        hits=figures.hits,
        errors=figures.errors,
        mean_first_byte_ms=figures.mean_first_byte_ms,
        error_rate=figures.error_rate,
        engine_errors=figures.engine_errors,
    )


def _descriptor_to_proto(descriptor: Descriptor) -> runtime_matrix_pb2.RuntimeDescriptor:
    return runtime_matrix_pb2.RuntimeDescriptor(
        id=descriptor.id,
        name=descriptor.name,
        adapter=descriptor.adapter,
        profile=descriptor.profile,
        modalities=[modality.value for modality in descriptor.modalities],
        accelerator=descriptor.accelerator.value,
        tags=descriptor.tags,
        auto_start=descriptor.auto_start,
        replicas=descriptor.replicas,
        replica_of=descriptor.replica_of or "",
    )


def _status_to_proto(status: Status, now: datetime) -> runtime_matrix_pb2.RuntimeStatus:
    return runtime_matrix_pb2.RuntimeStatus(
        id=status.id,
        state=status.state.value,
        state_label=status.state.label,
        severity=status.severity.value,
        severity_label=status.severity.label,
        summary=status.summary,
        detail=status.detail,
        update_time=time_to_proto(status.update_time or now),
        restart_budget=_budget_to_proto(status.restart_budget),
        node=status.node or "",
        shim_pid=status.shim_pid,
        engine_pid=status.engine_pid,
        incarnation=status.incarnation,
        health_grade=status.health_grade.value,
        model=status.model,
        uptime_ms=status.uptime // timedelta(milliseconds=1),
        last_error=status.last_error,
        engine=status.engine,
        accelerator_label=status.accelerator_label,
        execution_mode=status.execution_mode.value,
        execution_reason=status.execution_reason,
        prompt_cache_warm=status.prompt_cache_warm,
    )


def _budget_to_proto(budget: RestartBudget | None) -> runtime_matrix_pb2.RestartBudgetView | None:
    if budget is None:
        return None
    return runtime_matrix_pb2.RestartBudgetView(
        max_restarts=budget.max_restarts,
        used=budget.used,
        remaining=budget.remaining,
        window_seconds=int(budget.window.total_seconds()),
        reset_at=time_to_proto(budget.reset_at),
    )
