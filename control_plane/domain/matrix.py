"""The health of every node in slugs and in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from control_plane.domain.accelerator import Accelerator
from control_plane.domain.ids import NodeId
from control_plane.domain.instance import InstanceState, Severity
from control_plane.domain.node import NodeState
from control_plane.domain.node_view import NodeView
from control_plane.domain.rollup import RuntimeRollup, rolled_up, trimmed
from control_plane.domain.view import RuntimeView

MAX_REASONS = 8
MAX_REASON = 240
SLOW_MS = 1500
MIN_TTL = timedelta(seconds=60)
NOMINAL = "Running within expected ranges"


class Code(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    ERROR = "error"
    OFFLINE = "offline"

    @property
    def rank(self) -> int:
        return list(Code).index(self)


_OF_PROBLEM = {
    "ACCELERATOR_DRIVER_MISSING": (Code.OK, Severity.INFO),
    "ACCELERATOR_NO_PERMISSION": (Code.OK, Severity.INFO),
    "ACCELERATOR_RESERVED": (Code.OK, Severity.INFO),
}


@dataclass(frozen=True, slots=True)
class HttpFigures:
    """Inference requests that one node answered within `window`; never since start."""

    window: timedelta
    hits: int
    errors: int
    """Of the node: no whole answer of an engine came through."""
    mean_first_byte_ms: float | None = None
    engine_errors: int = 0
    """Of engines, which the node handed on well."""

    @property
    def error_rate(self) -> float | None:
        return self.errors / self.hits if self.hits else None


@dataclass(frozen=True, slots=True)
class MatrixStatus:
    code: Code
    severity: Severity
    label: str
    detail: tuple[str, ...]
    aria_hint: str


@dataclass(frozen=True, slots=True)
class MatrixEntry:
    target: NodeId
    status: MatrixStatus
    generate_time: datetime
    runtime: RuntimeRollup
    http: HttpFigures | None = None


@dataclass(frozen=True, slots=True)
class Matrix:
    ttl_seconds: int
    update_time: datetime
    items: dict[NodeId, MatrixEntry] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    code: Code
    severity: Severity
    reason: str


def ttl_seconds(heartbeat: timedelta) -> int:
    return int(max(MIN_TTL, 3 * heartbeat).total_seconds())


def entry(view: NodeView, placed: Sequence[RuntimeView], http: HttpFigures | None, now: datetime) -> MatrixEntry:
    rollup = rolled_up(placed, now)
    findings = [*_of_node(view, now), *_of_runtimes(placed, rollup), *_of_http(http)]
    return MatrixEntry(view.node.id, status(findings), now, rollup, http)


def status(findings: Sequence[Finding]) -> MatrixStatus:
    """The worst code and the worst severity, each by itself; the reason for the code comes first."""
    ordered = sorted(findings, key=lambda finding: -finding.code.rank)
    code = ordered[0].code if ordered else Code.OK
    severity = max((finding.severity for finding in findings), key=lambda s: s.rank, default=Severity.INFO)
    detail = _reasons(finding.reason for finding in ordered) or (NOMINAL,)
    label = "Ready - Runtime telemetry nominal" if code is Code.OK else f"{code.value.capitalize()} - {detail[0]}"
    return MatrixStatus(code, severity, label, detail, f"Runtime status {label}. {'; '.join(detail)}")


def _of_node(view: NodeView, now: datetime) -> Iterator[Finding]:
    if view.state is NodeState.QUARANTINED:
        yield Finding(Code.ERROR, Severity.ERROR, view.summary)
    elif view.state is not NodeState.ONLINE:
        yield Finding(Code.OFFLINE, view.severity(now), view.summary)
    else:
        told = (line for problem in view.troubles for line in (problem.text, problem.remedy))
        yield from (Finding(Code.DEGRADED, Severity.WARN, line) for line in told)
        yield from _of_devices(view.node.inventory.accelerators)


def _of_devices(devices: Iterable[Accelerator]) -> Iterator[Finding]:
    """A device without a driver was never there for runtimes, so it only gets a line; one that fails is a warning."""
    for device in devices:
        if device.simulated:
            text = f"{device.display_name}: a simulated accelerator, nothing computes on it"
            yield Finding(Code.OK, Severity.INFO, text)
        elif device.problem is not None:
            code, severity = _OF_PROBLEM.get(device.problem.reason, (Code.DEGRADED, Severity.WARN))
            yield Finding(code, severity, f"{device.display_name}: {device.problem.text}")


def _of_runtimes(placed: Sequence[RuntimeView], rollup: RuntimeRollup) -> Iterator[Finding]:
    if rollup.alerts:
        troubled = [view for view in placed if view.troubled]
        bad = any(view.state is InstanceState.ERROR or view.severity is Severity.ERROR for view in troubled)
        code, severity = (Code.ERROR, Severity.ERROR) if bad else (Code.DEGRADED, Severity.WARN)
        yield Finding(code, severity, f"Runtime issues: {'; '.join(rollup.alerts)}")
    if rollup.restart_pressure:
        yield Finding(Code.DEGRADED, Severity.WARN, f"Restart budgets: {'; '.join(rollup.restart_pressure)}")


def _of_http(http: HttpFigures | None) -> Iterator[Finding]:
    if http is None:
        return
    if http.errors:
        severity = Severity.ERROR if http.errors > http.hits / 10 else Severity.WARN
        yield Finding(Code.DEGRADED, severity, f"HTTP errors recorded: {http.errors}")
    if http.engine_errors:
        severity = Severity.WARN if http.engine_errors > http.hits / 10 else Severity.INFO
        yield Finding(Code.OK, severity, f"Errors answered by engines: {http.engine_errors}")
    if http.mean_first_byte_ms is not None and http.mean_first_byte_ms > SLOW_MS:
        yield Finding(Code.DEGRADED, Severity.WARN, f"High average latency {http.mean_first_byte_ms:.0f} ms")


def _reasons(texts: Iterable[str]) -> tuple[str, ...]:
    cut = (trimmed(text, MAX_REASON) for text in texts)
    return tuple(dict.fromkeys(text for text in cut if text))[:MAX_REASONS]
