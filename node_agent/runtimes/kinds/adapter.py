"""What the supervisor asks of each kind of engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from node_agent.domain.inventory import Engine, EngineDevice
from node_agent.domain.spec import InstanceSpec
from node_agent.domain.status import Problem
from node_agent.runtimes.engines import Candidate


class Feature(StrEnum):
    """What an engine of some kind can be asked to do."""

    CHAT = "chat"
    EMBEDDINGS = "embeddings"
    VISION = "vision"
    TRANSCRIPTION = "transcription"
    SPEECH = "speech"
    METRICS = "metrics"
    PROMPT_CACHE = "prompt-cache"
    """It remembers what it read of prompts, so that warm_up_prompts are of use."""
    SLOT_SAVE = "slot-save"
    """It writes what a slot holds to a file, and reads it back."""
    KEY = "key"
    """It turns away who does not know the launch's key."""


ANY_PROGRAM = frozenset(Feature) - {Feature.PROMPT_CACHE, Feature.SLOT_SAVE}
"""What one that nothing is known of may do; the rest is asked for in an engine's own words."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What holds of every engine of a kind."""

    features: frozenset[Feature]
    needs_model: bool = True
    managed: bool = True
    """False: it runs already. It is looked at, and never started, stopped or signalled."""
    openai: bool = True
    """It answers the paths of the OpenAI API, so requests may be sent to it."""
    slow_start: timedelta = timedelta()
    """Added to the time that loading a model of its size may take."""
    model_folder: bool = False
    """It reads the whole folder that the model's file lies in."""
    in_parts: bool = False
    """It is several processes, which meet on ports of their own choice and share memory."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one binary can do; the same for all files with its digest."""

    version: str
    flags: frozenset[str]
    devices: tuple[EngineDevice, ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a launch listens, and the file with its key. The key itself never enters argv or environment."""

    port: int
    key_file: Path
    cache: Path | None = None
    """A folder for what its slots hold; None: it keeps nothing."""


@dataclass(frozen=True, slots=True)
class Command:
    argv: tuple[str, ...]
    env: dict[str, str]
    missing_accelerator: str = ""
    """Asked for, not there, done without."""
    directory: str = ""
    """Where it runs; empty: the instance's own scratch directory."""
    keeps_slots: bool = False
    """The binary in hand can, and was told where."""


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
    model: str = ""
    """What it calls the model, when that is not the runtime's id."""


@dataclass(frozen=True, slots=True)
class Gauges:
    """What an engine counts, under one name for all kinds; None: it does not say."""

    requests_running: float | None = None
    requests_waiting: float | None = None
    prompt_tokens_total: float | None = None
    generated_tokens_total: float | None = None
    cache_used_ratio: float | None = None
    """Of the memory for contexts, 0 to 1."""
    prompt_tokens_cached_total: float | None = None
    """What the cache held; it is not in prompt_tokens_total."""
    prompt_seconds_total: float | None = None
    generated_seconds_total: float | None = None
    """Of each request from its first token on, added up."""
    steps_total: float | None = None
    """Of the model, each for all requests that are busy then."""
    busy_per_step: float | None = None
    """Requests in one of these steps, on average since the start."""

    @property
    def has_read(self) -> bool | None:
        """Any prompt since it started; None: it does not say."""
        if self.prompt_tokens_total is None:
            return None
        return self.prompt_tokens_total + (self.prompt_tokens_cached_total or 0) > 0


@dataclass(frozen=True, slots=True)
class Line:
    """To a running engine."""

    port: int
    key: str
    patience: timedelta


@dataclass(frozen=True, slots=True)
class Finding:
    """Why an engine ended, read from its log."""

    problem: Problem
    hopeless: bool = False
    """Terminal: the same launch would end the same way. Otherwise it is worth another try."""


class Adapter(Protocol):
    """Turns intents into the command line of the binary in hand, and reads the engine's answers.

    Launching, signals and the end of the process tree are the supervisor's, the same for every kind.
    """

    @property
    def id(self) -> str: ...

    @property
    def traits(self) -> Traits: ...

    def found(self) -> Sequence[Candidate]:
        """Engines of this kind on this machine that `join` may trust, the best one first."""

    def candidate(self, path: Path) -> Candidate:
        """The engine at a path, with every file that trust in it covers. EngineNotFound, LocalPolicyDenied."""

    async def probe(self, engine: Engine) -> Capabilities:
        """Ask the binary what it can do. EngineNotFound when it cannot be run."""

    async def devices(self, engine: Engine) -> tuple[EngineDevice, ...] | None:
        """What it can use now, beside the processor; None: it does not say. EngineNotFound."""

    def check(self, spec: InstanceSpec) -> None:
        """What can be told at once: SpecInvalid, or of the model's head ModelFileMissing and ModelFileInvalid."""

    def render(self, spec: InstanceSpec, engine: Engine, able: Capabilities, at: Endpoint, scratch: Path) -> Command:
        """EngineFlagUnknown when the binary lacks a flag that an intent needs; AcceleratorMissing."""

    async def readiness(self, spec: InstanceSpec, port: int, key: str, patience: timedelta) -> Readiness: ...

    async def prove(self, spec: InstanceSpec, port: int, key: str, patience: timedelta) -> None:
        """EngineIdentityMismatch when what answers on the port is not the engine that was started."""

    async def in_use(
        self, spec: InstanceSpec, port: int, key: str, patience: timedelta, log: Sequence[str]
    ) -> InUse: ...

    async def gauges(self, spec: InstanceSpec, port: int, key: str, patience: timedelta) -> Gauges:
        """All None when the engine keeps no count or does not answer."""

    async def word(self, spec: InstanceSpec, port: int, key: str, patience: timedelta) -> str | None:
        """Another one after each token that it read or made; None: it keeps no such count, or does not answer."""

    async def warm_up(self, spec: InstanceSpec, line: Line, prompt: str, slot: int | None) -> None:
        """Read what chats begin with into a slot, or into one of its own choice. NoAnswer says why it did not.

        Asked only of those with Feature.PROMPT_CACHE.
        """

    async def save_slot(self, line: Line, slot: int, file: str) -> int:
        """Tokens that it wrote to this file of its folder, 0 for a slot that holds nothing. NoAnswer.

        Asked, as restore_slot is, only of those with Feature.SLOT_SAVE.
        """

    async def restore_slot(self, line: Line, slot: int, file: str) -> int:
        """Tokens that the slot holds now. NoAnswer when the file is not for this model, or does not fit."""

    def classify(self, log: Sequence[str]) -> Finding | None:
        """None when the log does not say."""

    def port_was_taken(self, log: Sequence[str]) -> bool: ...
