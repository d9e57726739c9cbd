"""The layers that keep an engine from what is not its own."""

from __future__ import annotations

from dataclasses import dataclass

PROCESS_LIMIT = 4096
"""Threads count too; large engines have some hundreds of them for each device."""


@dataclass(frozen=True, slots=True)
class SandboxLayer:
    name: str
    in_force: bool
    reason: str = ""
    """Why it is not in force; empty when it is."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What this machine's owner says of the sandbox of every engine."""

    user: str = ""
    """Whom engines run as, when the agent is root; empty: whom the agent runs as."""
    use: tuple[str, ...] = ()
    """Files and folders that engines may read and run, beyond their own and the system's."""
    write: tuple[str, ...] = ()
    """Files and folders that engines may change."""
    required: tuple[str, ...] = ()
    """Layers without which nothing is started."""
    off: tuple[str, ...] = ()
    """Layers that are left out."""
    process_limit: int = PROCESS_LIMIT
    """Processes and threads of each engine; 0: none."""
