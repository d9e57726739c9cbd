"""What the supervisor asks of each kind of engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from node_agent.domain.inventory import Engine
from node_agent.domain.spec import InstanceSpec
from node_agent.domain.status import Problem


@dataclass(frozen=True, slots=True)
class Device:
    """A device as the engine itself names it."""

    name: str
    kind: str
    """Slug of arw.v1.AcceleratorKind."""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one binary can do; the same for all files with its digest."""

    version: str
    flags: frozenset[str]
    devices: tuple[Device, ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a launch listens, and the file with its key. The key itself never enters argv or environment."""

    port: int
    key_file: Path


@dataclass(frozen=True, slots=True)
class Command:
    argv: tuple[str, ...]
    env: dict[str, str]
    missing_accelerator: str = ""
    """Asked for, not there, done without."""


class Readiness(StrEnum):
    SILENT = "silent"
    """Nothing listens yet, or it did not answer in time."""
    LOADING = "loading"
    READY = "ready"


@dataclass(frozen=True, slots=True)
class InUse:
    """What a running engine says that it really uses."""

    slots: int | None = None
    context_length: int | None = None
    """Tokens per slot."""
    accelerator: str = ""
    accelerator_label: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Why an engine ended, read from its log."""

    problem: Problem
    hopeless: bool = False
    """The same launch would end the same way."""


class Adapter(Protocol):
    """Turns intents into the command line of the binary in hand, and reads the engine's answers."""

    @property
    def id(self) -> str: ...

    async def probe(self, engine: Engine) -> Capabilities:
        """Ask the binary what it can do. EngineNotFound when it cannot be run."""

    def check_model(self, spec: InstanceSpec) -> None:
        """Look at the model file's head; ModelFileMissing or ModelFileInvalid."""

    def render(self, spec: InstanceSpec, engine: Engine, able: Capabilities, at: Endpoint, scratch: Path) -> Command:
        """EngineFlagUnknown when the binary lacks a flag that an intent needs; AcceleratorMissing."""

    async def readiness(self, port: int, patience: timedelta) -> Readiness: ...

    async def prove(self, spec: InstanceSpec, port: int, key: str, patience: timedelta) -> None:
        """EngineIdentityMismatch when what answers on the port is not the engine that was started."""

    async def in_use(self, port: int, key: str, patience: timedelta, log: Sequence[str]) -> InUse: ...

    def classify(self, log: Sequence[str]) -> Finding | None:
        """None when the log does not say."""

    def port_was_taken(self, log: Sequence[str]) -> bool: ...
