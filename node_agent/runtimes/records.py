"""What lies in an instance directory, as values. The shim writes run.json and exit.json, the agent the others."""

from __future__ import annotations

from dataclasses import dataclass, field

from node_agent.domain.sandbox import SandboxLayer
from node_agent.domain.spec import ExecutionMode
from node_agent.domain.status import Problem


@dataclass(frozen=True, slots=True)
class WantedRecord:
    """What the shim's child does to itself; `sandbox.confine.Wanted` reads it."""

    rules: dict[str, tuple[str, ...]] = field(default_factory=dict)
    port: int = 0
    needed: tuple[tuple[str, int], ...] = ()
    without: dict[str, str] = field(default_factory=dict)
    user: str = ""
    uid: int = 0
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SandboxRecord:
    wanted: WantedRecord = WantedRecord()
    memory_bytes: int = 0
    pids: int = 0
    """Processes and threads of the whole tree; 0 is no limit for both."""
    required: tuple[str, ...] = ()
    """Layers without which nothing is started."""
    given: tuple[SandboxLayer, ...] = ()
    """The container tool's doing: then what the shim starts is its client, which is not confined."""


@dataclass(frozen=True, slots=True)
class CheckRecord:
    """The image's own health check."""

    command: tuple[str, ...]
    interval_s: float
    timeout_s: float
    retries: int


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    tool: str
    """Path of podman or docker."""
    kind: str
    name: str
    """Of the container; no other launch has it."""
    image: str
    uid: int = 0
    """Of this machine's users, whom the engine runs as; 0: the agent's own."""
    memory_bytes: int = 0
    """Its limit; 0: none."""
    check: CheckRecord | None = None


@dataclass(frozen=True, slots=True)
class LaunchRecord:
    """launch.json: all that the shim needs, and what the next agent must know of this launch. No secrets."""

    incarnation: int
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    cgroup: str
    log: str
    log_bytes: int
    log_pieces: int
    port: int
    key_file: str
    engine: str
    """The engine's version, for people."""
    launch_key: str
    time: float
    """Unix seconds."""
    missing_accelerator: str = ""
    """The accelerator that was asked for and is not there."""
    missing_because: str = ""
    """What befell it; empty: the engine found none."""
    engine_sha256: str = ""
    """Of its main file, or its image."""
    sandbox: SandboxRecord = SandboxRecord()
    mode: ExecutionMode = ExecutionMode.NATIVE
    mode_reason: str = ""
    container: ContainerRecord | None = None
    """In mode "container": what runs beside the client, which is then the engine's process here."""
    cache: str = ""
    """The folder for what its slots hold; empty: it keeps nothing."""
    cache_key: str = ""
    """Launches that agree in it can read what is kept there."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """run.json: which processes belong to this launch."""

    incarnation: int
    boot_id: str
    engine_pid: int
    engine_start_ticks: int
    shim_pid: int
    shim_start_ticks: int
    cgroup: str
    """v2, v1 or none: how sure a kill of the whole tree is."""
    cgroup_paths: tuple[str, ...] = ()
    sandbox: tuple[SandboxLayer, ...] = ()
    """Empty also when the child died before it could tell."""
    lock: tuple[int, int] = (0, 0)
    """Device and inode of the lock that the tree inherited; zeros: the shim is of an earlier agent."""


@dataclass(frozen=True, slots=True)
class ExitNote:
    """exit.json: how the engine ended."""

    incarnation: int
    exit_code: int | None
    signal: int | None
    oom_killed: bool
    time: float
    """Unix seconds."""
    not_started: str = ""
    """Why the engine could not be executed at all."""
    missing_layer: str = ""
    """Of the sandbox: required here, and not to be had; `not_started` says why."""
    memory_limit_bytes: int = 0
    """The limit that its memory ran into; 0: none."""


@dataclass(frozen=True, slots=True)
class KeptSlots:
    """slots.json: what was kept of the slots' content for the start after a planned stop."""

    folder: str
    key: str
    """Of launches that can read it."""
    files: dict[str, int]
    """Names in that folder, with the slot that each is of."""
    problem: str = ""
    """Why it is not all."""


@dataclass(frozen=True, slots=True)
class StateRecord:
    """state.json: what must outlive the agent."""

    name: str = ""
    incarnation: int = 0
    settled: int = 0
    """The last incarnation whose end was dealt with."""
    told_to_end: int = 0
    """The last incarnation that an agent told to end: that it did is no failure, whoever sees it."""
    restarts: tuple[float, ...] = ()
    """Unix seconds of each automatic restart that still counts."""
    failures: int = 0
    restore_serial: int = 0
    launch_key: str = ""
    ready_time: float | None = None
    """Of the last incarnation; None while it was never ready."""
    problem: Problem | None = None
    """Why it failed for good."""
    beside: bool = False
    """The last incarnation lies in the second berth."""
    reserved: int = 0
    """The highest incarnation given to what was launched beside another."""
    refused: str = ""
    """Attempt that did not come up beside what serves; empty: none."""
    refusal: Problem | None = None
    """Why."""
