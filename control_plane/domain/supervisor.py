"""Every runtime with its budget and health."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.execution import ExecutionMode
from control_plane.domain.health import Grade, grade, last_error
from control_plane.domain.ids import ModelId, NodeId, RuntimeId
from control_plane.domain.instance import Instance, InstanceState, RestartBudget, Severity
from control_plane.domain.runtime import Modality
from control_plane.domain.view import RuntimeView


@dataclass(frozen=True, slots=True)
class Descriptor:
    id: RuntimeId
    name: str
    adapter: str
    profile: str
    modalities: tuple[Modality, ...]
    accelerator: AcceleratorKind
    auto_start: bool
    tags: dict[str, str] = field(default_factory=dict)
    replicas: int = 1
    replica_of: RuntimeId | None = None


@dataclass(frozen=True, slots=True)
class Status:
    id: RuntimeId
    state: InstanceState
    severity: Severity
    summary: str
    health_grade: Grade
    model: ModelId
    detail: tuple[str, ...] = ()
    update_time: datetime | None = None
    restart_budget: RestartBudget | None = None
    node: NodeId | None = None
    shim_pid: int = 0
    engine_pid: int = 0
    incarnation: int = 0
    uptime: timedelta = timedelta()
    """Since it became ready; zero when it is not."""
    last_error: str = ""
    engine: str = ""
    accelerator_label: str = ""
    execution_mode: ExecutionMode = ExecutionMode.UNSPECIFIED
    execution_reason: str = ""
    prompt_cache_warm: bool | None = None
    """None: it has no prompt cache, or its engine does not say."""


@dataclass(frozen=True, slots=True)
class SupervisorRow:
    descriptor: Descriptor
    status: Status


@dataclass(frozen=True, slots=True)
class Snapshot:
    update_time: datetime
    rows: tuple[SupervisorRow, ...]
    control_plane_pid: int
    agent_pid: int
    """Of the agent on the control plane's own machine; 0: there is none."""
    version: str


def rows(views: Iterable[RuntimeView], now: datetime) -> tuple[SupervisorRow, ...]:
    """In id order."""
    ordered = sorted(views, key=lambda view: view.runtime.id)
    return tuple(SupervisorRow(descriptor(view), status(view, now)) for view in ordered)


def descriptor(view: RuntimeView) -> Descriptor:
    spec = view.runtime.spec
    return Descriptor(
        id=view.runtime.id,
        name=spec.display_name,
        adapter=spec.adapter,
        profile=spec.profile,
        modalities=spec.modalities,
        accelerator=spec.accelerator,
        auto_start=spec.auto_start,
        tags=dict(spec.tags),
        replicas=spec.replicas,
        replica_of=view.runtime.replica_of,
    )


def status(view: RuntimeView, now: datetime) -> Status:
    plain = Status(view.runtime.id, view.state, view.severity, view.summary, grade(view), view.runtime.spec.model)
    return _observed(plain, view.instance, now) if view.instance else plain


def _observed(plain: Status, instance: Instance, now: datetime) -> Status:
    since = instance.ready_time if instance.state.serves else None
    return replace(
        plain,
        detail=instance.detail,
        update_time=instance.update_time,
        restart_budget=instance.restart_budget,
        node=instance.node,
        shim_pid=instance.process.shim_pid if instance.process else 0,
        engine_pid=instance.process.engine_pid if instance.process else 0,
        incarnation=instance.incarnation,
        uptime=max(now - since, timedelta()) if since else timedelta(),
        last_error=last_error(instance),
        engine=instance.engine,
        accelerator_label=instance.accelerator_label or instance.accelerator.label,
        execution_mode=instance.execution_mode,
        execution_reason=instance.execution_reason,
        prompt_cache_warm=instance.prompt_cache_warm,
    )
