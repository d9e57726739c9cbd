"""Read models to what goes out."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from control_plane.domain import event as journal
from control_plane.domain import instance, matrix, rollup, supervisor
from control_plane.domain.cluster import Cluster, ClusterNode
from control_plane.domain.manifest_sources import ManifestSources
from control_plane.domain.replica import Replica
from control_plane.http import shapes


def matrix_to_json(of: matrix.Matrix) -> shapes.RuntimeMatrix:
    items = {node: _entry(entry) for node, entry in of.items.items()}
    return shapes.RuntimeMatrix(items=items, ttl_seconds=of.ttl_seconds, updated=stamp(of.update_time))


def supervisor_to_json(of: supervisor.Snapshot) -> shapes.RuntimeSupervisor:
    rows = [
        shapes.SupervisedRuntime(descriptor=_descriptor(row.descriptor), status=shapes.Status(**_status(row.status)))
        for row in of.rows
    ]
    return shapes.RuntimeSupervisor(
        updated_at=stamp(of.update_time),
        runtimes=rows,
        control_plane_pid=of.control_plane_pid,
        agent_pid=of.agent_pid,
        version=of.version,
    )


def runtimes_to_json(of: supervisor.Snapshot) -> shapes.Runtimes:
    return shapes.Runtimes(updated_at=stamp(of.update_time), runtimes=[_runtime(row) for row in of.rows])


def manifests_to_json(of: ManifestSources) -> shapes.RuntimeManifests:
    resolved = [
        shapes.ManifestSource(source=source, runtimes=list(runtimes)) for source, runtimes in of.declared.items()
    ]
    return shapes.RuntimeManifests(
        updated_at=stamp(of.update_time),
        paths=list(of.paths),
        resolved=resolved,
        news=[event_to_json(row) for row in of.news],
    )


def cluster_to_json(of: Cluster) -> shapes.Cluster:
    nodes = [_node(node, of.update_time) for node in of.nodes]
    replicas = [_replica(replica) for replica in of.replicas]
    generated = stamp(of.update_time)
    return shapes.Cluster(
        nodes=nodes,
        replicas=replicas,
        generated=generated,
        ttl_seconds=of.ttl_seconds,
        placement_held=of.silence.text if of.silence is not None else "",
    )


def event_to_json(of: journal.Event) -> shapes.Event:
    return shapes.Event(
        id=of.id, time=_stamp(of.time), kind=of.kind, subject=of.subject, payload=of.payload, dedup_key=of.key
    )


def stamp(at: datetime) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _stamp(at: datetime | None) -> str | None:
    return stamp(at) if at else None


def _entry(of: matrix.MatrixEntry) -> shapes.MatrixEntry:
    status = of.status
    return shapes.MatrixEntry(
        target=of.target,
        status=shapes.MatrixStatus(
            code=status.code,
            severity=status.severity,
            severity_label=status.severity.label,
            label=status.label,
            detail=list(status.detail),
            aria_hint=status.aria_hint,
        ),
        generated=stamp(of.generate_time),
        runtime=_rollup(of.runtime),
        http=_http(of.http) if of.http else None,
    )


def _rollup(of: rollup.RuntimeRollup) -> shapes.RuntimeRollup:
    groups = of.by_accelerator.items()
    return shapes.RuntimeRollup(
        total=of.total,
        updated=stamp(of.update_time),
        states=of.states,
        severity=of.severity,
        alerts=list(of.alerts),
        restart_pressure=list(of.restart_pressure),
        by_accelerator={
            label: shapes.AcceleratorRollup(total=group.total, states=group.states) for label, group in groups
        },
    )


def _http(of: matrix.HttpFigures) -> shapes.HttpFigures:
    return shapes.HttpFigures(
        window_seconds=int(of.window.total_seconds()),
        hits=of.hits,
        errors=of.errors,
        engine_errors=of.engine_errors,
        mean_first_byte_ms=_rounded(of.mean_first_byte_ms),
        error_rate=_rounded(of.error_rate),
    )


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 4)


def _descriptor(of: supervisor.Descriptor) -> shapes.Descriptor:
    return shapes.Descriptor(
        id=of.id,
        adapter=of.adapter,
        modalities=list(of.modalities),
        auto_start=of.auto_start,
        name=of.name,
        profile=of.profile,
        accelerator=of.accelerator,
        tags=dict(of.tags),
        replicas=of.replicas,
        replica_of=of.replica_of,
    )


def _status(of: supervisor.Status) -> dict[str, Any]:
    """The members of a status, which stand alone or among those of a runtime."""
    return {
        "id": of.id,
        "state": of.state,
        "state_label": of.state.label,
        "severity": of.severity,
        "severity_label": of.severity.label,
        "summary": of.summary,
        "detail": list(of.detail),
        "health_grade": of.health_grade,
        "model": of.model,
        "uptime_ms": int(of.uptime.total_seconds() * 1000),
        "updated_at": _stamp(of.update_time),
        "restart_budget": budget_to_json(of.restart_budget) if of.restart_budget else None,
        "node": of.node,
        "shim_pid": of.shim_pid,
        "engine_pid": of.engine_pid,
        "incarnation": of.incarnation,
        "last_error": of.last_error,
        "engine": of.engine,
        "accelerator_label": of.accelerator_label,
        "execution_mode": of.execution_mode,
        "execution_reason": of.execution_reason,
        "prompt_cache_warm": of.prompt_cache_warm,
    }


def _runtime(of: supervisor.SupervisorRow) -> shapes.Runtime:
    about = of.descriptor
    return shapes.Runtime(
        **_status(of.status),
        adapter=about.adapter,
        name=about.name,
        profile=about.profile,
        replicas=about.replicas,
        replica_of=about.replica_of,
    )


def budget_to_json(of: instance.RestartBudget) -> shapes.RestartBudget:
    return shapes.RestartBudget(
        window_seconds=int(of.window.total_seconds()),
        max_restarts=of.max_restarts,
        used=of.used,
        remaining=of.remaining,
        reset_at=_stamp(of.reset_at),
    )


def _replica(of: Replica) -> shapes.ControlPlaneReplica:
    return shapes.ControlPlaneReplica(
        id=of.id,
        grpc_address=of.place.grpc_address,
        http_url=of.place.http_url,
        version=of.place.version,
        started=stamp(of.start_time),
        leads=of.leads,
    )


def _node(of: ClusterNode, now: datetime) -> shapes.ClusterNode:
    view, severity = of.view, of.view.severity(now)
    return shapes.ClusterNode(
        id=view.node.id,
        state=view.state,
        state_label=view.state.label,
        severity=severity,
        severity_label=severity.label,
        summary=view.summary,
        schedulable=view.node.schedulable,
        drained=view.node.drain is not None,
        runtimes=of.runtimes,
        capabilities=_capabilities(of),
        models=list(of.models),
        labels=dict(view.node.labels),
        last_seen=_stamp(view.last_contact),
    )


def _capabilities(of: ClusterNode) -> shapes.NodeCapabilities:
    node, found = of.view.node, of.view.node.inventory
    return shapes.NodeCapabilities(
        os=found.os,
        arch=found.arch,
        arw_version=node.agent_version,
        cpu_cores=found.cpu_cores,
        memory_bytes=found.memory_bytes,
        accelerators=[device.display_name or device.kind.label for device in found.accelerators],
        adapters=sorted({engine.adapter for engine in found.engines}),
    )
