"""What this node says of an instance."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from node_agent.domain.footprint import Footprint
from node_agent.domain.sandbox import SandboxLayer
from node_agent.domain.spec import ExecutionMode, InstanceName
from wire.refusal import Refusal


class InstanceState(StrEnum):
    PENDING = "pending"
    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    ERROR = "error"
    OFFLINE = "offline"
    HIBERNATED = "hibernated"

    @property
    def serves(self) -> bool:
        return self in (InstanceState.READY, InstanceState.DEGRADED)


@dataclass(frozen=True, slots=True)
class Problem:
    """A reason with words for a person; `reason` is a name of arw.v1.Reason without its prefix."""

    reason: str
    text: str
    remedy: str = ""
    metadata: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, refusal: Refusal) -> Problem:
        return cls(refusal.reason, refusal.text, refusal.remedy, dict(refusal.metadata))


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A pid alone is never trusted: it counts only with its boot and start time."""

    boot_id: str
    engine_pid: int
    engine_start_ticks: int
    """Field 22 of /proc/PID/stat."""
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
class BudgetView:
    max_restarts: int
    window: timedelta
    used: int
    reset_in: timedelta | None = None

    @property
    def remaining(self) -> int:
        return max(0, self.max_restarts - self.used)


@dataclass(frozen=True, slots=True)
class Health:
    probe_latency: timedelta | None = None
    consecutive_misses: int = 0
    inflight_requests: int | None = None
    slots: int | None = None


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    name: InstanceName
    state: InstanceState
    summary: str = ""
    detail: tuple[str, ...] = ()
    observed_generation: int = 0
    incarnation: int = 0
    process: ProcessIdentity | None = None
    budget: BudgetView | None = None
    last_exit: ExitRecord | None = None
    health: Health | None = None
    accelerator: str = ""
    accelerator_label: str = ""
    problem: Problem | None = None
    ready_time: datetime | None = None
    engine: str = ""
    footprint: Footprint | None = None
    """Learnt of this engine with this model and these options."""
    sandbox: tuple[SandboxLayer, ...] = ()
    prompt_cache_warm: bool | None = None
    """Whether its prompt cache holds anything; None: it has none, or does not say."""
    execution_mode: ExecutionMode | None = None
    """None: it was never started."""
    execution_reason: str = ""
    alarm: bool = False
    """Somebody has to come."""
    answered_probes: tuple[str, ...] = ()
    """Which requests to ask the engine now this answers, the newest last."""
    idle_since: datetime | None = None
    """No request was in hand since; None: one is, or was a moment ago, or nobody is to know."""
