"""The journal's topics, each with what it says.

Members may join, and none goes: who reads leaves alone what it does not know.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import field

from control_plane.domain.accelerator import AcceleratorKind, DeviceHealth
from control_plane.domain.authority import AuthorityState
from control_plane.domain.execution import ExecutionMode
from control_plane.domain.instance import InstanceState, Severity
from control_plane.domain.jobs.job import JobKind, JobState
from control_plane.domain.node import NodeState
from control_plane.domain.residence import SleepCause
from control_plane.domain.supervisor_log import Deed
from control_plane.domain.watcher import WatchArea, WatchStatus
from control_plane.http.claim_shapes import ClaimNoticed, ClaimTold, FallbackEngaged
from control_plane.http.project_shapes import ProjectKeyTold, ProjectTold
from control_plane.http.shapes import Count, MatrixStatus, NodeName, RestartBudget, RuntimeName, Shape, Stamp, Told


class AboutRuntime(Shape):
    runtime: RuntimeName


class StateChanged(AboutRuntime):
    id: RuntimeName
    node: NodeName
    state: InstanceState
    state_label: str
    severity: Severity
    severity_label: str
    summary: str
    detail: list[str]
    updated: Stamp
    restart_budget: RestartBudget | None
    reason: str
    execution_mode: ExecutionMode
    execution_reason: str


class RestoreRequested(AboutRuntime):
    restart: bool
    reset_budget: bool
    preset: str
    cause: str
    job_id: str = ""


class ShutdownRequested(AboutRuntime):
    job_id: str = ""


class HibernateRequested(AboutRuntime):
    cause: SleepCause
    problem: Told | None
    """Of whoever needs its room."""


class WakeRequested(AboutRuntime):
    cause: str
    """Such as "request", "operator" or "job"."""
    job_id: str = ""


class WakeCompleted(AboutRuntime):
    ok: bool
    """There was room, and it starts."""
    problem: Told | None


class RestoreCompleted(AboutRuntime):
    node: NodeName
    ok: bool
    error: str = ""


class HealthDegraded(AboutRuntime):
    node: NodeName
    summary: str
    detail: list[str]
    severity: Severity
    severity_label: str


class AcceleratorSwitched(AboutRuntime):
    node: NodeName
    previous: AcceleratorKind
    previous_label: str
    accelerator: AcceleratorKind
    accelerator_label: str
    reason: str
    summary: str


class SupervisorLog(AboutRuntime):
    node: NodeName
    event: Deed
    severity: Severity
    severity_label: str
    text: str
    incarnation: Count
    engine: str
    pid: Count | None
    exit_code: int | None
    signal: Count | None
    oom_killed: bool


class Declared(AboutRuntime):
    outcome: str
    generation: Count
    auto_start: bool
    source: str


class ProfileChanged(AboutRuntime):
    profile: str
    previous: str
    generation: Count


class Placed(AboutRuntime):
    node: str
    previous_node: str
    problem: Told | None


class OnNode(AboutRuntime):
    node: str


class ManifestsReloaded(Shape):
    sources: list[str]
    created: list[RuntimeName]
    updated: list[RuntimeName]
    removed: list[RuntimeName]
    unchanged: Count
    models: list[str] = field(default_factory=list)


class ManifestsRefused(Told):
    source: str


class ModelChanged(Shape):
    id: str
    change: str
    sha256: str
    size_bytes: Count


class JobTold(AboutRuntime):
    id: str
    kind: JobKind
    state: JobState
    state_label: str
    progress: float
    summary: str


class JobCreated(JobTold):
    operator: str


class JobCompleted(JobTold):
    problem: Told | None
    rolled_back: bool | None


class NodeChanged(Shape, kw_only=True):
    id: NodeName
    state: NodeState
    state_label: str
    severity: Severity
    severity_label: str
    summary: str
    schedulable: bool
    drained: bool = False
    labels: dict[str, str]
    cause: str = ""
    reason: str = ""
    text: str = ""
    problems: list[Told] = field(default_factory=list)
    held_removals: list[RuntimeName] = field(default_factory=list)


class AuthorityTold(Shape):
    """A step of a rotation, by the authority that it is about."""

    id: str
    state: AuthorityState


class HistoryChanged(Shape):
    history: str
    previous_history: str
    revision: Count
    known_revision: Count
    node: str
    text: str
    remedy: str


class PlacementChanged(Shape):
    held: bool
    nodes: list[NodeName]
    silent: Count
    of: Count
    text: str
    remedy: str


class RemovalsAllowed(Shape):
    id: NodeName
    operator: str
    removals: list[RuntimeName]


class Device(Shape):
    id: str
    kind: AcceleratorKind
    label: str
    name: str
    simulated: bool
    health: DeviceHealth
    problem: Told | None


class EngineFound(Shape):
    adapter: str
    version: str
    image: str


class ModeOffered(Shape):
    mode: ExecutionMode
    available: bool
    detail: str


class NodeAdvertised(Shape):
    id: NodeName
    agent_version: str
    boot_id: str
    os: str
    arch: str
    cpu_cores: Count
    memory_bytes: Count
    accelerators: list[Device]
    engines: list[EngineFound]
    execution: list[ModeOffered]


class HealthRollup(Shape):
    total: Count
    updated: Stamp
    states: dict[str, Count]
    alerts: list[str]
    restart_pressure: list[str]


class NodeHealth(Shape):
    target: NodeName
    status: MatrixStatus
    runtime: HealthRollup


class ServiceHealth(Shape):
    id: WatchArea
    label: str
    status: WatchStatus
    status_label: str
    severity: Severity
    severity_label: str
    summary: str
    reason: str
    remedy: str
    paths: list[str]
    files: Count


@dataclass(frozen=True, slots=True)
class Topic:
    kind: str
    summary: str
    payload: type[Shape]


TOPICS = (
    Topic("authority.activated", "Another authority signs from now on", AuthorityTold),
    Topic("authority.prepared", "Another authority is trusted, and signs nothing yet", AuthorityTold),
    Topic("authority.revoked", "What an authority signed counts no more", AuthorityTold),
    Topic("authority.tainted", "What an authority signed is to be renewed", AuthorityTold),
    Topic("cluster.history.changed", "The database came back without its last changes", HistoryChanged),
    Topic("cluster.node.advertise", "What a machine has, when it connects and when that changes", NodeAdvertised),
    Topic("cluster.node.changed", "A node's state, labels or troubles changed", NodeChanged),
    Topic("cluster.node.removals.allowed", "An operator let go of removals that a node held back", RemovalsAllowed),
    Topic(
        "cluster.placement.changed", "Many nodes fell silent at once and are left alone, or no more", PlacementChanged
    ),
    Topic("models.changed", "A model was registered, changed or deleted", ModelChanged),
    Topic("orchestrator.job.completed", "A job is over", JobCompleted),
    Topic("orchestrator.job.created", "Somebody ordered something", JobCreated),
    Topic("orchestrator.job.progress", "A job goes on", JobTold),
    Topic("project.created", "A project was made", ProjectTold),
    Topic("project.deleted", "A project, its pins and its keys are gone", ProjectTold),
    Topic("project.key.created", "A project got a key", ProjectKeyTold),
    Topic("project.key.revoked", "A key of a project is refused from now on", ProjectKeyTold),
    Topic("project.updated", "A project was named, disabled, enabled or pinned", ProjectTold),
    Topic("runtime.accelerator.switch", "A runtime runs on another accelerator", AcceleratorSwitched),
    Topic("runtime.claim.acquired", "A claim is granted: its requests are served", ClaimTold),
    Topic("runtime.claim.expired", "A claim was not renewed in time, or its time window is over", ClaimTold),
    Topic("runtime.claim.noticed", "A claim will lose what it holds to another", ClaimNoticed),
    Topic("runtime.claim.queued", "A claim waits for room, or for its time", ClaimTold),
    Topic("runtime.claim.recovered", "What a claim held all along serves again", ClaimTold),
    Topic("runtime.claim.rejected", "Nothing that is declared would ever do for a claim", ClaimTold),
    Topic("runtime.claim.released", "A claim was given up by its holder", ClaimTold),
    Topic("runtime.claim.request", "Somebody claims a runtime", ClaimTold),
    Topic("runtime.claim.reserved", "A claim has its hold, and its node has yet to let it in", ClaimTold),
    Topic("runtime.claim.revoked", "A claim was taken from its holder", ClaimTold),
    Topic("runtime.claim.suspended", "What a claim holds does not serve now", ClaimTold),
    Topic("runtime.declared", "A runtime was created or changed", Declared),
    Topic("runtime.deleted", "A runtime is no longer wanted", OnNode),
    Topic("runtime.fallback.engaged", "A claim goes on elsewhere, since what it held failed", FallbackEngaged),
    Topic("runtime.health", "The matrix entry of a node changed", NodeHealth),
    Topic("runtime.health.degraded", "A runtime serves, but not well", HealthDegraded),
    Topic("runtime.manifests.refused", "A manifest file is wrong", ManifestsRefused),
    Topic("runtime.manifests.reloaded", "Manifest files were taken in", ManifestsReloaded),
    Topic("runtime.placed", "A runtime got a place, another one or none", Placed),
    Topic(
        "runtime.profile.changed", "A runtime got another profile, or its profile says something else", ProfileChanged
    ),
    Topic("runtime.removed", "A node let go of a runtime", OnNode),
    Topic("runtime.restore.completed", "A runtime serves after a restore, or will not", RestoreCompleted),
    Topic("runtime.restore.requested", "A runtime is to be started", RestoreRequested),
    Topic("runtime.hibernate.requested", "A runtime is to leave memory", HibernateRequested),
    Topic("runtime.wake.requested", "Somebody asks for a runtime that is hibernated", WakeRequested),
    Topic("runtime.wake.completed", "A hibernated runtime starts, or why it does not", WakeCompleted),
    Topic("runtime.shutdown.requested", "An operator wants a runtime stopped", ShutdownRequested),
    Topic("runtime.state.changed", "An instance entered another state", StateChanged),
    Topic("runtime.supervisor.log", "A node started a process, or one ended, and how", SupervisorLog),
    Topic("service.health", "What the control plane looks at by itself is in order, or no longer", ServiceHealth),
)
