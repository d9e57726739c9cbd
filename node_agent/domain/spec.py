"""What the control plane wants of this node. One conversion module makes these from the stream's messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import NewType

InstanceName = NewType("InstanceName", str)
"""nodes/{node}/instances/{runtime}"""


class DesiredState(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"


class ExecutionMode(StrEnum):
    NATIVE = "native"
    CONTAINER = "container"


@dataclass(frozen=True, slots=True)
class ModelFile:
    name: str
    path: str
    """Empty: the runtime needs no model file."""
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How a program says that it is well."""

    path: str = ""
    """Of a GET; empty: it is well when it takes connections."""
    expect_status: int = 200
    expect_body: str = ""
    """Must be part of the answer; empty: any answer will do."""


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """A program that is no known engine."""

    command: tuple[str, ...]
    """The program's absolute path, then its arguments; {port} and {key_file} stand for what the launch gets."""
    env: tuple[tuple[str, str], ...] = ()
    """By name."""
    directory: str = ""
    """Where it runs; empty: the instance's own."""
    port: int = 0
    """0: a free one, put in for {port}."""
    health: HealthCheck = HealthCheck()
    openai: bool = False
    """It answers the paths of the OpenAI API, so requests may be sent to it."""


@dataclass(frozen=True, slots=True)
class ExternalSettings:
    """Something that runs already and stays its owner's."""

    url: str
    """http://host:port"""
    health_path: str = ""
    """Empty: /v1/models."""
    model: str = ""
    """What it calls the model; empty: the only one that it lists."""


@dataclass(frozen=True, slots=True)
class ExecutionSettings:
    modes: frozenset[ExecutionMode] = frozenset()
    """Those that it may run in; none: any."""
    preferred: ExecutionMode | None = None
    image: str = ""
    """Of its containers, by name; empty: the one that this node's owner trusts for the adapter."""

    @property
    def possible(self) -> frozenset[ExecutionMode]:
        return self.modes or frozenset(ExecutionMode)


@dataclass(frozen=True, slots=True)
class Hold:
    claim: str
    fence: int
    stop_after: timedelta | None = field(default=None, compare=False)
    """How long the node may be without contact before it stops the instance; None: for ever. Nobody passes by it."""


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
    warm_up_prompts: tuple[str, ...] | None = field(default=None, repr=False)
    """What chats begin with; the prompt cache holds it from the start on."""
    prompt_cache: str | None = field(default=None, repr=False)
    """Runtimes with the same name share the read form of these prompts on disk."""
    kv_cache_type: str | None = field(default=None, repr=False)
    """Of both halves of the attention cache."""


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
    projector: ModelFile | None = None
    """What turns pictures into the model's own tokens; None: the model reads text alone."""
    process: ProcessSettings | None = None
    external: ExternalSettings | None = None
    execution: ExecutionSettings = ExecutionSettings()
    on_demand: bool = False
    """Somebody wants to know when nothing is asked of it."""
    rests: bool = False
    """Stopped until it is asked for: what it has in hand is answered first."""
