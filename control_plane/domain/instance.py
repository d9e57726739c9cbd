"""What a node reports of a runtime placed on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.execution import ExecutionMode
from control_plane.domain.footprint import Footprint
from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.problem import Problem
from control_plane.domain.sandbox import SandboxLayer


class Severity(StrEnum):
    INFO = "info"
    WARN = "warn"
    ERROR = "error"

    @property
    def label(self) -> str:
        return self.value.capitalize()

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


class InstanceState(StrEnum):
    UNKNOWN = "unknown"
    PENDING = "pending"
    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    HIBERNATED = "hibernated"
    ERROR = "error"
    OFFLINE = "offline"

    @property
    def label(self) -> str:
        return self.value.capitalize()

    @property
    def serves(self) -> bool:
        return self in (InstanceState.READY, InstanceState.DEGRADED)


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    boot_id: str
    engine_pid: int
    engine_start_ticks: int
    shim_pid: int = 0
    """0: the shim is gone."""


@dataclass(frozen=True, slots=True)
class ExitRecord:
    exit_code: int | None = None
    signal: int | None = None
    oom_killed: bool = False
    exit_time: datetime | None = None
    log_tail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RestartBudget:
    max_restarts: int
    window: timedelta
    used: int
    remaining: int
    reset_at: datetime | None = None
    """When the oldest counted restart leaves the window; None when none is counted."""


@dataclass(frozen=True, slots=True)
class InstanceHealth:
    probe_latency: timedelta | None = None
    consecutive_misses: int = 0
    inflight_requests: int | None = None
    slots: int | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    node: NodeId
    runtime: RuntimeId
    state: InstanceState
    severity: Severity = Severity.INFO
    summary: str = ""
    detail: tuple[str, ...] = ()
    observed_generation: int = 0
    incarnation: int = 0
    process: ProcessIdentity | None = None
    restart_budget: RestartBudget | None = None
    last_exit: ExitRecord | None = None
    health: InstanceHealth | None = None
    accelerator: AcceleratorKind = AcceleratorKind.UNSPECIFIED
    accelerator_label: str = ""
    problem: Problem | None = None
    update_time: datetime | None = None
    ready_time: datetime | None = None
    engine: str = ""
    footprint: Footprint | None = None
    prompt_cache_warm: bool | None = None
    """Whether its prompt cache holds anything; None: it has none, or does not say."""
    sandbox: tuple[SandboxLayer, ...] = ()
    """What holds the running engine, or held the last one."""
    execution_mode: ExecutionMode = ExecutionMode.UNSPECIFIED
    """UNSPECIFIED: it was never started."""
    execution_reason: str = ""
    answered_probes: tuple[str, ...] = ()
    """Which requests to ask the engine now this answers, the newest last."""
    idle_since: datetime | None = None
    """No request was in hand since; None: one is, or was a moment ago, or its node does not say."""
    ran_on: AcceleratorKind = AcceleratorKind.UNSPECIFIED
    """Before this launch, as far as this control plane saw; not told by the node."""
    refused: bool = False
    """The node has no such instance: it would not take the spec, and this is shown instead."""
