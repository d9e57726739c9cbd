"""What this machine is, and what its devices do now. Nothing here is ever a guess: None means unknown, never zero."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from node_agent.domain.sandbox import SandboxLayer
from node_agent.domain.spec import ExecutionMode
from node_agent.domain.status import Problem

CPU = "cpu"


class DeviceHealth(StrEnum):
    UNKNOWN = ""
    OK = "ok"
    DEGRADED = "degraded"
    """It works, and something is wrong with it."""
    UNUSABLE = "unusable"
    """It is there and nothing can run on it."""


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
    vendor: str = ""
    pci_address: str = ""
    """ "0000:01:00.0", lower case; empty for a device that is not on PCI."""
    health: DeviceHealth = DeviceHealth.UNKNOWN
    problem: Problem | None = None
    """Why it is degraded or unusable."""
    unified_memory: bool = False
    """It computes in the machine's own memory."""
    partition_of: str = ""
    """Id of the device that this is a part of."""
    source: str = ""
    """What told of it, such as "nvml"."""
    details: dict[str, str] = field(default_factory=dict)
    """Further lasting facts; a unit is part of the name."""


@dataclass(frozen=True, slots=True)
class DeviceProcess:
    pid: int
    """In the driver's process namespace."""
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class AcceleratorUsage:
    id: str
    """As in `Accelerator.id`."""
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    utilization_percent: float | None = None
    temperature_celsius: float | None = None
    power_milliwatts: int | None = None
    power_limit_milliwatts: int | None = None
    throttle_reasons: tuple[str, ...] = ()
    processes: tuple[DeviceProcess, ...] = ()
    last_xid: int | None = None
    """Newest NVIDIA Xid since the watch started."""
    figures: dict[str, float] = field(default_factory=dict)
    """Further figures; the unit is part of the name."""


@dataclass(frozen=True, slots=True)
class NodeUsage:
    accelerators: tuple[AcceleratorUsage, ...] = ()
    battery_percent: float | None = None
    on_battery: bool | None = None


@dataclass(frozen=True, slots=True)
class EngineDevice:
    """A device as an engine names it."""

    name: str
    kind: str
    """Slug of arw.v1.AcceleratorKind."""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Engine:
    """A runtime binary that this node's owner trusts."""

    adapter: str
    command: tuple[str, ...]
    """How to start it, without options."""
    digests: tuple[tuple[str, str], ...]
    """(path, SHA-256) of each file that the trust covers, the main one first."""
    version: str = ""
    image: str = ""
    """The name of the container image that it lies in; `digests` then holds that name with the image's id."""
    environment: tuple[tuple[str, str], ...] = ()
    """Of a container tool, where the engine is asked through it; never kept."""
    devices: tuple[EngineDevice, ...] | None = None
    """What it can use of this machine, beside the processor; None: it does not say, or was not asked. Never kept."""


@dataclass(frozen=True, slots=True)
class ExecutionOffer:
    mode: ExecutionMode
    available: bool
    detail: str
    """What runs it, such as "podman 4.3.1", or why it is not to be had."""


@dataclass(frozen=True, slots=True)
class LocalLimits:
    """What the owner of this machine lets it run; None: no limit."""

    file: str = ""
    """Where that stands; empty: nowhere, and everything may run."""
    denied_adapters: tuple[str, ...] = ()
    """Of those that this agent has."""
    modes: tuple[str, ...] = ()
    max_runtimes: int | None = None
    memory_bytes: int | None = None
    memory_per_runtime_bytes: int | None = None
    closed: Problem | None = None
    """Why nothing new is taken now."""


@dataclass(frozen=True, slots=True)
class Inventory:
    os: str
    arch: str
    os_release: str
    cpu_cores: int
    memory_bytes: int
    accelerators: tuple[Accelerator, ...] = ()
    engines: tuple[Engine, ...] = ()
    limits: LocalLimits = LocalLimits()
    sandbox: tuple[SandboxLayer, ...] = ()
    """What the next engine gets."""
    execution: tuple[ExecutionOffer, ...] = ()
