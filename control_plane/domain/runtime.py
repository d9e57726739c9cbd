"""What operators declare."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.claims.hold import Holds
from control_plane.domain.execution import ExecutionSettings
from control_plane.domain.ids import ModelId, NodeId, RuntimeId
from control_plane.domain.problem import Problem
from control_plane.domain.residence import ALWAYS, Residence, Sleep

SYSTEM_CLAIM = "system"
"""The hold that every instance has but while one claim has it alone."""

NO_MODEL = ModelId("")
"""Of a runtime whose adapter needs no model file."""

EXTERNAL = "external"
"""The adapter of what runs already: a node needs no engine for it."""

DEFAULT_MAX_RESTARTS = 3
DEFAULT_RESTART_WINDOW = timedelta(seconds=600)


class Modality(StrEnum):
    TEXT = "text"
    AUDIO = "audio"
    VISION = "vision"
    POINTER = "pointer"


class MissingAccelerator(StrEnum):
    DEGRADE = "degrade"
    FAIL = "fail"


class PlacementStrategy(StrEnum):
    SPREAD = "spread"
    """On the node with the fewest runtimes."""
    BINPACK = "binpack"
    """On the node with the most of them that still has room."""


class DesiredState(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"
    HIBERNATED = "hibernated"
    """Stopped until it is asked for."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Intents; None leaves the choice to the adapter."""

    context_length: int | None = None
    slots: int | None = None
    threads: int | None = None
    gpu_layers: int | None = None
    batch_size: int | None = None
    embeddings: bool | None = None
    pooling: str | None = None
    warm_up: bool | None = None
    warm_up_prompts: tuple[str, ...] | None = None
    """What chats begin with; the engine's prompt cache holds it from the start on."""
    prompt_cache: str | None = None
    """Runtimes of a node with the same name share the read form of these prompts on its disk."""
    kv_cache_type: str | None = None
    """Of both halves of the attention cache, such as "q8_0"."""


@dataclass(frozen=True, slots=True)
class Intents:
    """How an engine is to run, as one source says it; what is None it leaves open."""

    settings: EngineSettings = EngineSettings()
    modalities: tuple[Modality, ...] | None = None
    accelerator: AcceleratorKind | None = None
    on_missing_accelerator: MissingAccelerator | None = None
    threads_share: int | None = None
    """Percent of the cores of the node where it is placed; with it no number of threads."""
    tuning: bool | None = None
    """What nobody says is chosen for that node."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What a runtime with a profile stands on, as it was when that was declared."""

    manifest: Intents
    profile: Intents
    """Only what the adapter has words for."""
    unsaid: tuple[str, ...] = ()
    """What the profile says besides, and the adapter has no word for."""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    max_restarts: int = DEFAULT_MAX_RESTARTS
    window: timedelta = DEFAULT_RESTART_WINDOW


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How a program says that it is well."""

    path: str = ""
    """Of a GET; empty: it is well when it takes connections."""
    expect_status: int = 200
    expect_body: str = ""
    """Must be part of the answer."""


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """A program that is no known engine; the node's owner must trust it."""

    command: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    working_directory: str = ""
    port: int = 0
    """0: a free one, put in for {port}."""
    health: HealthCheck = HealthCheck()
    openai: bool = False


@dataclass(frozen=True, slots=True)
class ExternalSettings:
    """Something that runs already, as its node sees it."""

    url: str
    health_path: str = ""
    model: str = ""
    """What it calls the model."""


@dataclass(frozen=True, slots=True)
class PlacementSettings:
    strategy: PlacementStrategy = PlacementStrategy.SPREAD
    move_after: timedelta | None = None
    """How long its node may be silent before it is moved; None: it is never moved for that."""


@dataclass(frozen=True, slots=True)
class RuntimeSpec:
    adapter: str
    model: ModelId = NO_MODEL
    display_name: str = ""
    profile: str = ""
    modalities: tuple[Modality, ...] = (Modality.TEXT,)
    accelerator: AcceleratorKind = AcceleratorKind.UNSPECIFIED
    on_missing_accelerator: MissingAccelerator = MissingAccelerator.DEGRADE
    auto_start: bool = False
    preset: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    settings: EngineSettings = EngineSettings()
    restart: RestartPolicy = RestartPolicy()
    node_selector: dict[str, str] = field(default_factory=dict)
    process: ProcessSettings | None = None
    external: ExternalSettings | None = None
    execution: ExecutionSettings = field(default_factory=ExecutionSettings)
    placement: PlacementSettings = PlacementSettings()
    replicas: int = 1
    """How many of it serve, each on a node of its own; of a replica itself always 1."""
    residence: Residence = ALWAYS
    basis: Basis | None = None
    """Where the above is from; None: it has no profile, and its manifest says all of it."""


@dataclass(frozen=True, slots=True)
class RestoreOrder:
    """An operator's restore; `serial` grows with each, 0 means never."""

    serial: int = 0
    restart: bool = False
    reset_budget: bool = False


@dataclass(frozen=True, slots=True)
class Departure:
    """From the place before the present one."""

    node: NodeId
    time: datetime


@dataclass(frozen=True, slots=True)
class Runtime:
    id: RuntimeId
    uid: str
    etag: str
    spec: RuntimeSpec
    desired_state: DesiredState
    generation: int
    revision: int
    create_time: datetime
    update_time: datetime
    node: NodeId | None = None
    """Where it is placed."""
    placement_problem: Problem | None = None
    """Why it has no place; None while it has one."""
    restore: RestoreOrder = RestoreOrder()
    fence: int = 1
    """Fence of the system hold; rises when the runtime moves to another node."""
    source: str = ""
    declared: RuntimeSpec | None = None
    """What its manifest says, while a swap of its model put `spec` instead; None: they are the same."""
    stuck: Problem | None = None
    """Why it is still on a node that it is to leave; None while it is to leave none."""
    departure: Departure | None = None
    """None: it never had another place."""
    replica_of: RuntimeId | None = None
    """Whom it follows; None: it was declared itself."""
    tuned: EngineSettings = EngineSettings()
    """What its profile leaves to its node, as chosen when it got this place."""
    holds: Holds = field(default_factory=Holds)
    """Of claims, beside the system hold."""
    sleep: Sleep | None = None
    """Of one that is to be hibernated, and of no other."""
