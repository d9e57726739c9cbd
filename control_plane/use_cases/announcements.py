"""The journal's topics and what each says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from control_plane.domain.accelerator import Accelerator, AcceleratorKind
from control_plane.domain.errors import ManifestInvalid
from control_plane.domain.event import Event
from control_plane.domain.execution import ExecutionOffer
from control_plane.domain.ids import resource_name
from control_plane.domain.instance import Instance, RestartBudget, Severity
from control_plane.domain.jobs.job import Job
from control_plane.domain.manifest import Reloaded
from control_plane.domain.matrix import MatrixEntry
from control_plane.domain.model import Model
from control_plane.domain.node import Engine, HeldRemoval, Node
from control_plane.domain.node_view import NodeView
from control_plane.domain.placing.situation import RESUME, MassSilence
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import Runtime
from control_plane.domain.watcher import Watcher

PLACEMENT_CHANGED = "cluster.placement.changed"
SILENT_TOLD = 100
"""Silent nodes that one event names."""


def of_runtime(kind: str, runtime: str, now: datetime, **payload: Any) -> Event:
    """An event about a runtime; payload values are JSON."""
    return Event(kind, resource_name("runtimes", runtime), {"runtime": runtime, **payload}, time=now)


def state_changed(instance: Instance, now: datetime, **more: Any) -> Event:
    return of_runtime(
        "runtime.state.changed",
        instance.runtime,
        now,
        id=instance.runtime,
        node=instance.node,
        state=instance.state.value,
        state_label=instance.state.label,
        **_severity(instance.severity),
        summary=instance.summary or f"state set to {instance.state.label}",
        detail=list(instance.detail),
        updated=stamp(instance.update_time or now),
        restart_budget=_budget(instance.restart_budget),
        reason=instance.problem.reason if instance.problem else "",
        execution_mode=instance.execution_mode.value,
        execution_reason=instance.execution_reason,
        **more,
    )


def restore_requested(runtime: Runtime, now: datetime, cause: str, **more: Any) -> Event:
    order = runtime.restore
    return of_runtime(
        "runtime.restore.requested",
        runtime.id,
        now,
        restart=order.restart,
        reset_budget=order.reset_budget,
        preset=runtime.spec.preset,
        cause=cause,
        **more,
    )


def restore_completed(instance: Instance, now: datetime, error: str = "") -> Event:
    """An empty error: it serves."""
    ended: dict[str, Any] = {"ok": False, "error": error} if error else {"ok": True}
    return of_runtime("runtime.restore.completed", instance.runtime, now, node=instance.node, **ended)


def degraded(instance: Instance, now: datetime) -> Event:
    text = instance.summary or f"state set to {instance.state.label}"
    return of_runtime(
        "runtime.health.degraded",
        instance.runtime,
        now,
        node=instance.node,
        summary=text,
        detail=list(instance.detail),
        **_severity(instance.severity),
    )


def accelerator_switched(instance: Instance, wanted: AcceleratorKind, now: datetime) -> Event:
    """In words: what is wrong with the device or the engine, else just that it is another one now."""
    used, problem = instance.accelerator, instance.problem
    plainly = f"It runs on {used.label} now, and not on {wanted.label}."
    return of_runtime(
        "runtime.accelerator.switch",
        instance.runtime,
        now,
        node=instance.node,
        previous=wanted.value,
        previous_label=wanted.label,
        accelerator=used.value,
        accelerator_label=used.label,
        reason=problem.reason if problem else "",
        summary=problem.text if problem else plainly,
    )


def profile_changed(runtime: Runtime, before: Runtime, now: datetime) -> Event:
    """Another profile, or what the same one says now."""
    said = {"profile": runtime.spec.profile, "previous": before.spec.profile}
    return of_runtime("runtime.profile.changed", runtime.id, now, **said, generation=runtime.generation)


def declared(runtime: Runtime, now: datetime, outcome: str) -> Event:
    return of_runtime(
        "runtime.declared",
        runtime.id,
        now,
        outcome=outcome,
        generation=runtime.generation,
        auto_start=runtime.spec.auto_start,
        source=runtime.source,
    )


def manifests_reloaded(sources: Sequence[str], told: Reloaded, now: datetime) -> Event:
    payload = {
        "sources": list(sources),
        "created": list(told.created),
        "updated": list(told.updated),
        "removed": list(told.removed),
        "unchanged": told.unchanged,
        "models": list(told.models),
    }
    return Event("runtime.manifests.reloaded", "manifests", payload, time=now)


def manifest_refused(refusal: ManifestInvalid, now: datetime) -> Event:
    source = refusal.metadata.get("source", "")
    payload = {"source": source, "reason": refusal.reason, "text": refusal.text, "remedy": refusal.remedy}
    return Event("runtime.manifests.refused", "manifests", payload, time=now)


def service_health(watcher: Watcher, now: datetime) -> Event:
    status, problem = watcher.status, watcher.problem
    payload = {
        "id": watcher.area.value,
        "label": watcher.area.label,
        "status": status.value,
        "status_label": status.label,
        **_severity(status.severity),
        "summary": watcher.summary,
        "reason": problem.reason if problem else "",
        "remedy": problem.remedy if problem else "",
        "paths": list(watcher.paths),
        "files": watcher.files,
    }
    return Event("service.health", f"watchers/{watcher.area.value}", payload, time=now)


def placed(runtime: Runtime, now: datetime, before: str) -> Event:
    """`before`: the node it comes from; empty: none."""
    why = runtime.placement_problem or runtime.stuck
    problem = problem_json(why) if why else None
    return of_runtime("runtime.placed", runtime.id, now, node=runtime.node or "", previous_node=before, problem=problem)


def model_changed(model: Model, now: datetime, change: str) -> Event:
    payload = {"id": model.id, "change": change, "sha256": model.sha256, "size_bytes": model.size_bytes}
    return Event("models.changed", resource_name("models", model.id), payload, time=now)


def node_changed(view: NodeView, now: datetime, **more: Any) -> Event:
    payload = {
        "id": view.node.id,
        "state": view.state.value,
        "state_label": view.state.label,
        **_severity(view.severity(now)),
        "summary": view.summary,
        "schedulable": view.node.schedulable,
        "drained": view.node.drain is not None,
        "labels": dict(view.node.labels),
        **more,
    }
    return Event("cluster.node.changed", resource_name("nodes", view.node.id), payload, time=now)


def closing(before: Node, view: NodeView, now: datetime) -> Iterator[Event]:
    """When a node begins to take nothing new, and when it takes it again; no event while that is as it was."""
    closed = view.node.inventory.limits.closed
    if closed == before.inventory.limits.closed:
        return
    said = problem_json(closed) if closed else {"reason": "", "text": ""}
    cause = "closed" if closed else "open again"
    yield node_changed(view, now, cause=cause, reason=said["reason"], text=said["text"])


def removals_allowed(node: Node, removals: Sequence[HeldRemoval], operator: str, now: datetime) -> Event:
    payload = {"id": node.id, "operator": operator, "removals": [removal.runtime for removal in removals]}
    return Event("cluster.node.removals.allowed", resource_name("nodes", node.id), payload, time=now)


def placement_changed(silence: MassSilence | None, now: datetime) -> Event:
    payload = {
        "held": silence is not None,
        "nodes": list(silence.nodes[:SILENT_TOLD]) if silence else [],
        "silent": len(silence.nodes) if silence else 0,
        "of": silence.of if silence else 0,
        "text": silence.text if silence else "What may leave a silent node is moved again.",
        "remedy": RESUME if silence else "",
    }
    return Event("cluster.placement.changed", "placement", payload, time=now)


def node_advertised(node: Node, now: datetime) -> Event:
    found = node.inventory
    payload = {
        "id": node.id,
        "agent_version": node.agent_version,
        "boot_id": node.boot_id,
        "os": found.os,
        "arch": found.arch,
        "cpu_cores": found.cpu_cores,
        "memory_bytes": found.memory_bytes,
        "accelerators": [_device(device) for device in found.accelerators],
        "engines": [_engine(engine) for engine in found.engines],
        "execution": [_offer(offer) for offer in found.execution],
    }
    return Event("cluster.node.advertise", resource_name("nodes", node.id), payload, time=now)


def job_created(job: Job, now: datetime) -> Event:
    name = resource_name("jobs", job.id)
    return Event("orchestrator.job.created", name, {**_job(job), "operator": job.operator}, time=now)


def job_changed(job: Job, now: datetime) -> Event:
    """It goes on, or is over."""
    name, payload = resource_name("jobs", job.id), _job(job)
    if not job.state.over:
        return Event("orchestrator.job.progress", name, payload, time=now)
    payload["problem"] = problem_json(job.problem) if job.problem else None
    payload["rolled_back"] = job.rolled_back
    return Event("orchestrator.job.completed", name, payload, time=now)


def _job(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "kind": job.order.kind.value,
        "runtime": job.order.runtime,
        "state": job.state.value,
        "state_label": job.state.label,
        "progress": job.progress_percent / 100,
        "summary": job.summary,
    }


def node_health(entry: MatrixEntry, now: datetime) -> Event:
    status, runtime = entry.status, entry.runtime
    payload = {
        "target": entry.target,
        "status": {
            "code": status.code.value,
            **_severity(status.severity),
            "label": status.label,
            "detail": list(status.detail),
            "aria_hint": status.aria_hint,
        },
        "runtime": {
            "total": runtime.total,
            "updated": stamp(runtime.update_time),
            "states": dict(runtime.states),
            "alerts": list(runtime.alerts),
            "restart_pressure": list(runtime.restart_pressure),
        },
    }
    return Event("runtime.health", resource_name("nodes", entry.target), payload, time=now)


def stamp(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


def _severity(severity: Severity) -> dict[str, str]:
    return {"severity": severity.value, "severity_label": severity.label}


def _device(device: Accelerator) -> dict[str, Any]:
    return {
        "id": device.id,
        "kind": device.kind.value,
        "label": device.kind.label,
        "name": device.display_name,
        "simulated": device.simulated,
        "health": device.health.value,
        "problem": problem_json(device.problem) if device.problem else None,
    }


def _engine(engine: Engine) -> dict[str, str]:
    return {"adapter": engine.adapter, "version": engine.version, "image": engine.image}


def _offer(offer: ExecutionOffer) -> dict[str, Any]:
    return {"mode": offer.mode.value, "available": offer.available, "detail": offer.detail}


def _budget(budget: RestartBudget | None) -> dict[str, Any] | None:
    if budget is None:
        return None
    return {
        "max_restarts": budget.max_restarts,
        "used": budget.used,
        "remaining": budget.remaining,
        "window_seconds": int(budget.window.total_seconds()),
        "reset_at": stamp(budget.reset_at) if budget.reset_at else None,
    }


def problem_json(problem: Problem) -> dict[str, str]:
    return {"reason": problem.reason, "text": problem.text, "remedy": problem.remedy}
