"""What operators declare."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.ids import ModelId, NodeId, RuntimeId
from control_plane.domain.problem import Problem

SYSTEM_CLAIM = "system"
"""The one hold that every instance has until projects claim them."""

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


class DesiredState(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"


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


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    max_restarts: int = DEFAULT_MAX_RESTARTS
    window: timedelta = DEFAULT_RESTART_WINDOW


@dataclass(frozen=True, slots=True)
class RuntimeSpec:
    adapter: str
    model: ModelId
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


@dataclass(frozen=True, slots=True)
class RestoreOrder:
    """An operator's restore; `serial` grows with each, 0 means never."""

    serial: int = 0
    restart: bool = False
    reset_budget: bool = False


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
