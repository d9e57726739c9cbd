"""Something that an operator wants done to a runtime, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from control_plane.domain.ids import JobId, ModelId, NodeId, RuntimeId
from control_plane.domain.instance import Instance, InstanceState, Severity
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import NO_MODEL, EngineSettings, RuntimeSpec

MAX_TIME_LIMIT = timedelta(days=1)


class JobKind(StrEnum):
    RESTORE = "runtime.restore"
    SHUTDOWN = "runtime.shutdown"
    ENSURE_READY = "runtime.ensure_ready"
    HEALTH_PROBE = "runtime.health_probe"
    SWAP_MODEL = "runtime.swap_model"

    @property
    def time_limit(self) -> timedelta:
        """Of a job that names none."""
        return timedelta(minutes=1 if self is JobKind.HEALTH_PROBE else 10)


class JobState(StrEnum):
    QUEUED = "queued"
    """Waits for a job before it on the same runtime."""
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ABORTED = "aborted"
    """Somebody else changed what it worked on; that was left alone."""

    @property
    def label(self) -> str:
        return self.value.capitalize()

    @property
    def over(self) -> bool:
        return self not in (JobState.QUEUED, JobState.RUNNING)


class JobStage(StrEnum):
    FORWARD = "forward"
    ROLLING_BACK = "rolling_back"


@dataclass(frozen=True, slots=True)
class JobOrder:
    """What was asked for: two that are equal ask for the same."""

    kind: JobKind
    runtime: RuntimeId
    time_limit: timedelta
    restart: bool = False
    """Of a restore: also when it runs."""
    reset_budget: bool = False
    """Of a restore."""
    model: ModelId = NO_MODEL
    """Of a swap."""
    settings: EngineSettings = field(default_factory=EngineSettings)
    """Of a swap: what is None stays as it is."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a node said of an instance when the job gave it an order: for a moment after it hears, it says the same."""

    node: NodeId
    state: InstanceState
    incarnation: int
    problem: Problem | None = None
    runtime: RuntimeId | None = None
    """None: earlier versions did not say that it is the job's."""

    @classmethod
    def of(cls, instance: Instance | None) -> Seen | None:
        if instance is None:
            return None
        return cls(instance.node, instance.state, instance.incarnation, instance.problem, instance.runtime)


@dataclass(frozen=True, slots=True)
class Probed:
    """What a health probe found."""

    state: InstanceState
    severity: Severity
    summary: str
    detail: tuple[str, ...] = ()
    node: NodeId | None = None
    incarnation: int = 0
    latency: timedelta | None = None
    """Of the node's last probe of the engine."""
    report_time: datetime | None = None
    """When the node last had something new to say of it."""
    contact_time: datetime | None = None
    """When the node was heard, after the probe was asked for."""
    fresh: bool = False
    """The node looked for this job; else it is what it told last."""


@dataclass(frozen=True, slots=True)
class Job:
    id: JobId
    order: JobOrder
    operator: str
    runtime_uid: str
    create_time: datetime
    deadline: datetime
    state: JobState = JobState.QUEUED
    stage: JobStage = JobStage.FORWARD
    start_time: datetime | None = None
    end_time: datetime | None = None
    progress_percent: int = 0
    summary: str = ""
    """One line for a person."""
    problem: Problem | None = None
    """Why it did not succeed; of a swap that rolls back it is known before the end."""
    cancel_requested: bool = False
    generation: int = 0
    """Of a swap: the runtime's, as the job left it."""
    seen: Seen | None = None
    replicas_seen: tuple[Seen, ...] = ()
    """The same of its replicas."""
    settle_time: datetime | None = None
    """Since when the runtime stands as it might stay, though it may be what was seen; None: it does not."""
    previous: RuntimeSpec | None = None
    """Of a swap: what to roll back to; None: nothing was put yet."""
    rolled_back: bool | None = None
    """Of a swap that did not succeed: whether what was there before serves again; None: nothing was rolled back."""
    probed: Probed | None = None

    def needs(self, model: ModelId) -> bool:
        """Whether the job, while it goes on, may still have to put this model."""
        before = self.previous.model if self.previous else NO_MODEL
        return not self.state.over and model in (self.order.model, before)
