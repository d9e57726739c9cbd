"""What one cell of the grid says of its runtimes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from statistics import fmean

from control_plane.domain.execution import ExecutionMode
from control_plane.domain.footprint import Footprint
from control_plane.domain.grid import Cell, Figures, Key, Placed, Sandbox
from control_plane.domain.health import grade
from control_plane.domain.ids import NodeId
from control_plane.domain.instance import InstanceHealth, InstanceState
from control_plane.domain.rollup import accelerator_of
from control_plane.domain.runtime import EXTERNAL
from control_plane.domain.view import RuntimeView

_FROM_BEST = (
    InstanceState.READY,
    InstanceState.HIBERNATED,
    InstanceState.PENDING,
    InstanceState.STARTING,
    InstanceState.STOPPING,
    InstanceState.RESTARTING,
    InstanceState.UNKNOWN,
    InstanceState.DEGRADED,
    InstanceState.OFFLINE,
    InstanceState.ERROR,
)


def key_of(view: RuntimeView, node: NodeId) -> Key:
    return Key(view.runtime.spec.model, node, accelerator_of(view), sandbox_of(view))


def sandbox_of(view: RuntimeView) -> Sandbox:
    if view.runtime.spec.adapter == EXTERNAL:
        return Sandbox.ATTACHED
    if view.instance is None or view.instance.execution_mode is ExecutionMode.UNSPECIFIED:
        return Sandbox.UNKNOWN
    if view.instance.execution_mode is ExecutionMode.CONTAINER:
        return Sandbox.CONTAINER
    return Sandbox.NATIVE if any(layer.in_force for layer in view.instance.sandbox) else Sandbox.NONE


def cell(key: Key, placed: Sequence[Placed], window: timedelta) -> Cell:
    views = [each.view for each in placed]
    worst = max(views, key=lambda view: _FROM_BEST.index(view.state))
    used = worst.instance.accelerator_label if worst.instance is not None else ""
    return Cell(
        key,
        layers=_common_layers(views),
        runtimes=tuple(sorted(view.runtime.id for view in views)),
        states=dict(Counter(view.state.value for view in views)),
        grade=max(grade(view) for view in views),
        severity=max((view.severity for view in views), key=lambda severity: severity.rank),
        label=f"{worst.state.label} - {used or key.accelerator.label}",
        figures=figures(placed, window),
    )


def figures(placed: Sequence[Placed], window: timedelta) -> Figures:
    health, learnt = list(_health(placed)), list(_learnt(placed))
    completion = sum(each.traffic.completion_tokens for each in placed)
    return Figures(
        runtimes=len(placed),
        inflight_requests=_sum(each.inflight_requests for each in health),
        slots=_sum(each.slots for each in health),
        hits=sum(each.traffic.hits for each in placed),
        errors=sum(each.traffic.errors for each in placed),
        engine_errors=sum(each.traffic.engine_errors for each in placed),
        prompt_tokens=sum(each.traffic.prompt_tokens for each in placed),
        completion_tokens=completion,
        served_tokens_per_second=completion / window.total_seconds(),
        generated_tokens_per_second=_mean(each.generated_tokens_per_second for each in learnt),
        prompt_tokens_per_second=_mean(each.prompt_tokens_per_second for each in learnt),
    )


def _health(placed: Iterable[Placed]) -> Iterable[InstanceHealth]:
    """Of those that serve: what others told last is over."""
    instances = (each.view.instance for each in placed)
    return (one.health for one in instances if one is not None and one.state.serves and one.health is not None)


def _learnt(placed: Iterable[Placed]) -> Iterable[Footprint]:
    instances = (each.view.instance for each in placed)
    return (one.footprint for one in instances if one is not None and one.footprint is not None)


def _common_layers(views: Iterable[RuntimeView]) -> tuple[str, ...]:
    held = [
        {layer.name for layer in view.instance.sandbox if layer.in_force} if view.instance else set() for view in views
    ]
    return tuple(sorted(set.intersection(*held)))


def _sum(told: Iterable[int | None]) -> int | None:
    known = [one for one in told if one is not None]
    return sum(known) if known else None


def _mean(told: Iterable[float | None]) -> float | None:
    known = [one for one in told if one is not None]
    return fmean(known) if known else None
