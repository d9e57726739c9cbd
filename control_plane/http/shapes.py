"""Read models as the JSON that dashboards read: slugs beside labels, what is empty left out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from control_plane.domain.event import Event
from control_plane.domain.instance import RestartBudget
from control_plane.domain.matrix import HttpFigures, Matrix, MatrixEntry
from control_plane.domain.rollup import RuntimeRollup
from control_plane.domain.supervisor import Descriptor, Snapshot, Status, SupervisorRow

Json = dict[str, Any]


def matrix(of: Matrix) -> Json:
    items = {node: _entry(entry) for node, entry in of.items.items()}
    return {"items": items, "ttl_seconds": of.ttl_seconds, "updated": stamp(of.update_time)}


def supervisor(of: Snapshot) -> Json:
    return {
        "updated_at": stamp(of.update_time),
        "runtimes": [{"descriptor": _descriptor(row.descriptor), "status": _status(row.status)} for row in of.rows],
        "control_plane_pid": of.control_plane_pid,
        "agent_pid": of.agent_pid,
        "version": of.version,
    }


def runtimes(of: Snapshot) -> Json:
    return {"updated_at": stamp(of.update_time), "runtimes": [_runtime(row) for row in of.rows]}


def event(of: Event) -> Json:
    return {
        "id": of.id,
        "time": stamp(of.time),
        "kind": of.kind,
        "subject": of.subject,
        "payload": of.payload,
    }


def stamp(at: datetime | None) -> str | None:
    """RFC 3339 in UTC with milliseconds."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else None


def _entry(of: MatrixEntry) -> Json:
    status = of.status
    shape: Json = {
        "target": of.target,
        "status": {
            "code": status.code.value,
            "severity": status.severity.value,
            "severity_label": status.severity.label,
            "label": status.label,
            "detail": list(status.detail),
            "aria_hint": status.aria_hint,
        },
        "generated": stamp(of.generate_time),
        "runtime": _rollup(of.runtime),
    }
    return shape | ({"http": _http(of.http)} if of.http else {})


def _rollup(of: RuntimeRollup) -> Json:
    by_accelerator = {
        label: _present({"total": group.total, "states": group.states}) for label, group in of.by_accelerator.items()
    }
    optional = {
        "states": of.states,
        "severity": of.severity,
        "alerts": list(of.alerts),
        "restart_pressure": list(of.restart_pressure),
        "by_accelerator": by_accelerator,
    }
    return {"total": of.total, "updated": stamp(of.update_time)} | _present(optional)


def _http(of: HttpFigures) -> Json:
    figures: Json = {"window_seconds": int(of.window.total_seconds()), "hits": of.hits, "errors": of.errors}
    optional = {"mean_first_byte_ms": of.mean_first_byte_ms, "error_rate": of.error_rate}
    return figures | {name: round(value, 4) for name, value in optional.items() if value is not None}


def _descriptor(of: Descriptor) -> Json:
    required = {"id": of.id, "adapter": of.adapter, "modalities": [modality.value for modality in of.modalities]}
    optional = {"name": of.name, "profile": of.profile, "accelerator": of.accelerator.value, "tags": dict(of.tags)}
    return required | _present(optional) | {"auto_start": of.auto_start}


def _status(of: Status) -> Json:
    shape: Json = {
        "id": of.id,
        "state": of.state.value,
        "state_label": of.state.label,
        "severity": of.severity.value,
        "severity_label": of.severity.label,
        "summary": of.summary,
        "detail": list(of.detail),
        "health_grade": of.health_grade.value,
        "model": of.model,
        "uptime_ms": int(of.uptime.total_seconds() * 1000),
    }
    optional = {
        "updated_at": stamp(of.update_time),
        "restart_budget": _budget(of.restart_budget),
        "node": of.node,
        "shim_pid": of.shim_pid,
        "engine_pid": of.engine_pid,
        "incarnation": of.incarnation,
        "last_error": of.last_error,
        "engine": of.engine,
        "accelerator_label": of.accelerator_label,
    }
    return shape | _present(optional)


def _runtime(of: SupervisorRow) -> Json:
    """What a person asks of a runtime, on one level."""
    shape = _status(of.status)
    optional = {"name": of.descriptor.name, "profile": of.descriptor.profile}
    return shape | _present(optional) | {"adapter": of.descriptor.adapter}


def _budget(of: RestartBudget | None) -> Json:
    if of is None:
        return {}
    shape: Json = {
        "window_seconds": int(of.window.total_seconds()),
        "max_restarts": of.max_restarts,
        "used": of.used,
        "remaining": of.remaining,
    }
    return shape | _present({"reset_at": stamp(of.reset_at)})


def _present(members: Mapping[str, Any]) -> Json:
    return {name: value for name, value in members.items() if value}
