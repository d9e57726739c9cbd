"""Jobs, and the orders that make them, as JSON."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from control_plane.domain.instance import InstanceState, Severity
from control_plane.domain.jobs.job import JobKind, JobState
from control_plane.http.shapes import Count, NodeName, RestartBudget, RuntimeName, Shape, Stamp, Told


class HealthFound(Shape):
    """What a health probe found."""

    state: InstanceState
    state_label: str
    severity: Severity
    severity_label: str
    summary: str
    detail: list[str]
    node: NodeName | None = None
    incarnation: Count = 0
    latency_ms: Annotated[float | None, Meta(description="Of the node's last probe of the engine")] = None
    reported: Annotated[Stamp | None, Meta(description="When the node last had something new to say of it")] = None
    heard: Annotated[Stamp | None, Meta(description="When the node was heard, after the order")] = None
    fresh: Annotated[bool, Meta(description="The node looked for this order; else it is what it told last")] = False


class Job(Shape):
    id: str
    category: Literal["runtime"]
    kind: JobKind
    label: Annotated[str, Meta(description="What it does, for a person")]
    runtime: RuntimeName
    state: JobState
    state_label: str
    progress: Annotated[float, Meta(ge=0, le=1)]
    summary: str
    payload: Annotated[dict[str, Any], Meta(description="What was asked for")]
    created: Stamp
    deadline: Stamp
    started: Stamp | None = None
    ended: Stamp | None = None
    operator: str = ""
    cancel_requested: bool = False
    problem: Annotated[Told | None, Meta(description="Why it did not succeed")] = None
    previous_model: Annotated[str, Meta(description="Of a swap: what was there before")] = ""
    rolled_back: Annotated[bool | None, Meta(description="Whether what was there before a swap serves again")] = None
    health: HealthFound | None = None


class OrchestratorJobs(Shape):
    """Jobs in hand, and the newest that are over; the newest come first."""

    ticking = frozenset({"updated_at"})

    updated_at: Stamp
    jobs: list[Job]


class Restore(Shape, forbid_unknown_fields=True):
    """What a restore may say; nothing is like {}."""

    restart: Annotated[bool, Meta(description="Restart it when it already runs")] = True
    reset_budget: Annotated[bool, Meta(description="Forget the automatic restarts counted so far")] = False
    preset: Annotated[str, Meta(description="Only that of its manifest: a restore changes none")] = ""


class RestoreTaken(Shape):
    ok: bool
    runtime_id: RuntimeName
    pending: Annotated[bool, Meta(description="Whether the job goes on; false: it is over")]
    restart_budget: RestartBudget
    job_id: str
    reason: Annotated[str, Meta(description="Why it was not done")] = ""
    code: Annotated[str, Meta(description="That reason, as arw.v1 names it")] = ""
    remedy: str = ""


class ShutdownTaken(Shape):
    ok: bool
    runtime_id: RuntimeName
    stopped: Annotated[bool, Meta(description="Whether it is stopped by now; else it is being stopped")]
    pending: bool
    job_id: str
