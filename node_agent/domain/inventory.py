"""What this machine is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Accelerator:
    id: str
    """UUID or PCI address; "cpu" for the processor."""
    kind: str
    """Slug of arw.v1.AcceleratorKind."""
    display_name: str = ""
    memory_bytes: int | None = None
    driver_version: str = ""
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Engine:
    """A runtime binary that this node's owner trusts."""

    adapter: str
    command: tuple[str, ...]
    """How to start it, without options."""
    digests: tuple[tuple[str, str], ...]
    """(path, SHA-256) of each file that the trust covers, the main one first."""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Inventory:
    os: str
    arch: str
    os_release: str
    cpu_cores: int
    memory_bytes: int
    accelerators: tuple[Accelerator, ...] = ()
    engines: tuple[Engine, ...] = ()
