"""The JSON that dashboards read, as types: slugs beside labels, what is empty left out.

The published API documents are made from these types, and nothing else describes the answers.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.execution import ExecutionMode
from control_plane.domain.health import Grade
from control_plane.domain.ids import NodeId
from control_plane.domain.instance import InstanceState, Severity
from control_plane.domain.matrix import Code
from control_plane.domain.node import NodeState
from control_plane.domain.runtime import Modality

Stamp = Annotated[str, Meta(description="RFC 3339, UTC", extra_json_schema={"format": "date-time"})]
Count = Annotated[int, Meta(ge=0)]
NodeName = Annotated[str, Meta(description="Display id of a node")]
RuntimeName = Annotated[str, Meta(description="Display id of a runtime")]


class Shape(Struct, kw_only=True, omit_defaults=True):
    """Members with a default are left out where they have it."""

    ticking: ClassVar[frozenset[str]] = frozenset()
    """Members that only say how late it is: a document in which nothing else changed is the same."""


class Problem(Shape):
    """RFC 7807."""

    type: str
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: str = ""
    remedy: Annotated[str, Meta(description="What to do about it")] = ""
    code: Annotated[str, Meta(description="The reason, as arw.v1 names it")] = ""
    trace_id: str = ""


class Told(Shape):
    """A problem in words."""

    reason: str
    text: str
    remedy: str


class RestartBudget(Shape):
    """Of the automatic restarts of one runtime on one node."""

    window_seconds: Count
    max_restarts: Count
    used: Count
    remaining: Count
    reset_at: Stamp | None = None


class MatrixStatus(Shape):
    code: Code
    severity: Severity
    severity_label: str
    label: str
    detail: list[str]
    aria_hint: Annotated[str, Meta(description="The same for a screen reader")]


class AcceleratorRollup(Shape):
    total: Count
    states: dict[str, Count] = {}


class RuntimeRollup(Shape):
    """What the runtimes of one node add up to."""

    ticking = frozenset({"updated"})

    total: Count
    updated: Stamp
    states: dict[str, Count] = {}
    severity: dict[str, Count] = {}
    alerts: list[str] = []
    restart_pressure: list[str] = []
    by_accelerator: Annotated[dict[str, AcceleratorRollup], Meta(description="By label, such as GPU (CUDA)")] = {}


class HttpFigures(Shape):
    """Inference requests within the window, never since start."""

    window_seconds: Count
    hits: Count
    errors: Annotated[int, Meta(ge=0, description="Of the node: no whole answer of an engine came through")]
    engine_errors: Annotated[int, Meta(ge=0, description="Answered by engines")]
    mean_first_byte_ms: float | None = None
    error_rate: float | None = None


class MatrixEntry(Shape):
    ticking = frozenset({"generated"})

    target: NodeName
    status: MatrixStatus
    generated: Stamp
    runtime: RuntimeRollup
    http: HttpFigures | None = None


class RuntimeMatrix(Shape):
    """The health of every node, by node id."""

    ticking = frozenset({"updated"})

    items: dict[NodeId, MatrixEntry]
    ttl_seconds: Annotated[int, Meta(ge=0, description="Older than this it says nothing any more")]
    updated: Stamp


class Descriptor(Shape):
    """What is wanted."""

    id: RuntimeName
    adapter: str
    modalities: list[Modality]
    auto_start: bool
    name: str = ""
    profile: str = ""
    accelerator: AcceleratorKind = AcceleratorKind.UNSPECIFIED
    tags: dict[str, str] = {}
    replicas: Annotated[int, Meta(ge=1, description="How many of it there are; of a replica itself always 1")] = 1
    replica_of: Annotated[RuntimeName | None, Meta(description="The runtime that it follows")] = None


class Status(Shape):
    """What is."""

    ticking = frozenset({"uptime_ms"})

    id: RuntimeName
    state: InstanceState
    state_label: str
    severity: Severity
    severity_label: str
    summary: str
    detail: list[str]
    health_grade: Grade
    model: str
    uptime_ms: Annotated[int, Meta(ge=0, description="Since it became ready; 0 when it is not")]
    updated_at: Stamp | None = None
    restart_budget: RestartBudget | None = None
    node: NodeName | None = None
    shim_pid: Count = 0
    engine_pid: Count = 0
    incarnation: Count = 0
    last_error: str = ""
    engine: str = ""
    accelerator_label: str = ""
    execution_mode: ExecutionMode = ExecutionMode.UNSPECIFIED
    execution_reason: str = ""
    prompt_cache_warm: bool | None = None


class SupervisedRuntime(Shape):
    descriptor: Descriptor
    status: Status


class RuntimeSupervisor(Shape):
    """Every runtime with its budget and health, in id order, and the processes behind them."""

    ticking = frozenset({"updated_at"})

    updated_at: Stamp
    runtimes: list[SupervisedRuntime]
    control_plane_pid: Count
    agent_pid: Annotated[int, Meta(ge=0, description="On the control plane's own machine; 0: there is none")]
    version: str


class Runtime(Status, kw_only=True):
    """What a person asks of a runtime, on one level."""

    adapter: str
    name: str = ""
    profile: str = ""
    replicas: Annotated[int, Meta(ge=1, description="How many of it there are; of a replica itself always 1")] = 1
    replica_of: Annotated[RuntimeName | None, Meta(description="The runtime that it follows")] = None


class Runtimes(Shape):
    ticking = frozenset({"updated_at"})

    updated_at: Stamp
    runtimes: list[Runtime]


class Event(Shape):
    """A journal row. Rows come at least once."""

    id: Count
    time: Stamp | None
    kind: Annotated[str, Meta(description="Topic")]
    subject: Annotated[str, Meta(description="Resource name")]
    payload: dict[str, Any]
    dedup_key: Annotated[str, Meta(description="The same for each delivery, and for no other event anywhere")]


class ManifestSource(Shape):
    source: Annotated[str, Meta(description="The file, or what the operator called it; empty: not said")]
    runtimes: list[RuntimeName]


class RuntimeManifests(Shape):
    """Where runtimes are declared."""

    ticking = frozenset({"updated_at"})

    updated_at: Stamp
    paths: Annotated[list[str], Meta(description="Files and folders that are loaded at the start and on every change")]
    resolved: Annotated[list[ManifestSource], Meta(description="Who declared what there is, by source")]
    news: Annotated[list[Event], Meta(description="The newest reloads and refusals, the newest last")]


class NodeCapabilities(Shape):
    os: str = ""
    arch: str = ""
    arw_version: str = ""
    cpu_cores: Count = 0
    memory_bytes: Count = 0
    accelerators: list[str] = []
    adapters: list[str] = []


class ClusterNode(Shape):
    ticking = frozenset({"last_seen"})

    id: NodeName
    state: NodeState
    state_label: str
    severity: Severity
    severity_label: str
    summary: str
    schedulable: bool
    runtimes: Annotated[int, Meta(ge=0, description="How many are placed there")]
    capabilities: NodeCapabilities
    models: Annotated[list[str], Meta(description="Of the runtimes that are placed there")] = []
    labels: dict[str, str] = {}
    drained: Annotated[bool, Meta(description="What runs there is being moved elsewhere")] = False
    last_seen: Stamp | None = None


class ControlPlaneReplica(Shape):
    """A process of the control plane that lives."""

    id: str
    grpc_address: str
    http_url: str
    version: str
    started: Stamp
    leads: Annotated[bool, Meta(description="It runs the loops of which there may be only one")]


class Cluster(Shape):
    """Every machine that may come back, in id order, and the control plane itself."""

    ticking = frozenset({"generated"})

    nodes: list[ClusterNode]
    replicas: list[ControlPlaneReplica]
    generated: Stamp
    ttl_seconds: Count
    placement_held: Annotated[str, Meta(description="Why nothing is moved away from silent nodes now")] = ""


class Snapshot(Shape):
    """A whole read model. What comes next are patches against it."""

    id: str
    document: dict[str, Any]


class Patch(Shape):
    """RFC 6902, from what was sent last to what is now."""

    id: str
    patch: list[dict[str, Any]]


class Replay(Shape):
    mode: Literal["after", "newest", "none"]
    count: Count


class Connected(Shape):
    """Opens each stream of events."""

    request_id: str
    resume_from: int | None
    replay: Replay
    prefixes: list[str]


class Following(Shape):
    """Opens each stream of one read model."""

    request_id: str
    resume_from: Annotated[str | None, Meta(description="The entity tag that the client has, where it is known yet")]


class Alive(Shape):
    status: Literal["ok"]
