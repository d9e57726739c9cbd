"""What the control plane wants of this node. One conversion module makes these from the stream's messages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import NewType

InstanceName = NewType("InstanceName", str)
"""nodes/{node}/instances/{runtime}"""


class DesiredState(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ModelFile:
    name: str
    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Hold:
    claim: str
    fence: int


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
    max_restarts: int = 3
    window: timedelta = timedelta(seconds=600)


@dataclass(frozen=True, slots=True)
class RestoreOrder:
    """Acted on once, when `serial` is higher than the last one acted on."""

    serial: int = 0
    restart: bool = False
    reset_budget: bool = False


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    name: InstanceName
    generation: int
    revision: int
    runtime_id: str
    """Display id; the engine's model alias."""
    adapter: str
    model: ModelFile
    desired_state: DesiredState
    settings: EngineSettings = EngineSettings()
    accelerator: str = ""
    """Slug; empty: whatever there is."""
    degrade_on_missing_accelerator: bool = True
    auto_start: bool = False
    restart: RestartPolicy = RestartPolicy()
    holds: frozenset[Hold] = frozenset()
    restore: RestoreOrder = RestoreOrder()
