"""What lies in an instance directory, as values. The shim writes run.json and exit.json, the agent the others."""

from __future__ import annotations

from dataclasses import dataclass

from node_agent.domain.status import Problem


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


@dataclass(frozen=True, slots=True)
class StateRecord:
    """state.json: what must outlive the agent."""

    name: str = ""
    incarnation: int = 0
    settled: int = 0
    """The last incarnation whose end was dealt with."""
    restarts: tuple[float, ...] = ()
    """Unix seconds of each automatic restart that still counts."""
    failures: int = 0
    restore_serial: int = 0
    launch_key: str = ""
    ready_time: float | None = None
    """Of the last incarnation; None while it was never ready."""
    problem: Problem | None = None
    """Why it failed for good."""
