"""What the runtimes of one node add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.view import RuntimeView

MAX_PART = 200


@dataclass(frozen=True, slots=True)
class AcceleratorRollup:
    total: int
    states: dict[str, int]


@dataclass(frozen=True, slots=True)
class RuntimeRollup:
    total: int
    update_time: datetime
    states: dict[str, int] = field(default_factory=dict)
    severity: dict[str, int] = field(default_factory=dict)
    alerts: tuple[str, ...] = ()
    restart_pressure: tuple[str, ...] = ()
    by_accelerator: dict[str, AcceleratorRollup] = field(default_factory=dict)
    """By label, such as "GPU (CUDA)"."""


def rolled_up(placed: Sequence[RuntimeView], now: datetime) -> RuntimeRollup:
    return RuntimeRollup(
        total=len(placed),
        update_time=now,
        states=_states(placed),
        severity=dict(Counter(view.severity.value for view in placed)),
        alerts=tuple(alert(view) for view in placed if view.troubled),
        restart_pressure=tuple(line for view in placed if (line := pressure(view))),
        by_accelerator=_by_accelerator(placed),
    )


def alert(view: RuntimeView) -> str:
    """One line: who, what, and the first detail."""
    detail = view.instance.detail if view.instance else ()
    first = next((line.strip() for line in detail if line.strip()), "")
    line = f"{view.title}: {trimmed(view.summary, MAX_PART)}"
    return f"{line} ({trimmed(first, MAX_PART)})" if first else line


def pressure(view: RuntimeView) -> str:
    """Empty while restarts are at hand; a budget that nothing has used is never low."""
    budget = view.instance.restart_budget if view.instance else None
    if budget is None or budget.used == 0 or budget.remaining > 1:
        return ""
    reset = f"; resets at {budget.reset_at:%Y-%m-%dT%H:%M:%SZ}" if budget.reset_at else ""
    if budget.remaining == 0:
        return f"{view.title} restart budget exhausted ({budget.used}/{budget.max_restarts} used{reset})"
    window = int(budget.window.total_seconds())
    left = f"{budget.remaining} of {budget.max_restarts} remaining"
    return f"{view.title} restart budget low ({left}; window {window}s{reset})"


def accelerator_of(view: RuntimeView) -> AcceleratorKind:
    """What the engine really uses, else what was asked for."""
    used = view.instance.accelerator if view.instance else AcceleratorKind.UNSPECIFIED
    return used if used is not AcceleratorKind.UNSPECIFIED else view.runtime.spec.accelerator


def _by_accelerator(placed: Sequence[RuntimeView]) -> dict[str, AcceleratorRollup]:
    groups: dict[str, list[RuntimeView]] = {}
    for view in placed:
        groups.setdefault(accelerator_of(view).label, []).append(view)
    return {label: AcceleratorRollup(len(group), _states(group)) for label, group in sorted(groups.items())}


def _states(placed: Iterable[RuntimeView]) -> dict[str, int]:
    return dict(Counter(view.state.value for view in placed))


def trimmed(text: str, limit: int) -> str:
    """At most `limit` characters, the last one an ellipsis when something was cut."""
    text = text.strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"
