from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from control_plane.domain.accelerator import Accelerator, AcceleratorKind, NodeUsage
from control_plane.domain.authority import NodeTrust
from control_plane.domain.execution import ExecutionMode, ExecutionOffer
from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.problem import Problem
from control_plane.domain.sandbox import SandboxLayer


class NodeState(StrEnum):
    WAITING_FOR_APPROVAL = "waiting_for_approval"
    ENROLLED = "enrolled"
    ONLINE = "online"
    OFFLINE = "offline"
    QUARANTINED = "quarantined"
    REVOKED = "revoked"

    @property
    def label(self) -> str:
        return self.value.replace("_", " ").capitalize()


class Standing(StrEnum):
    """What the store knows of a node: may it connect? Whether it is connected lives in memory."""

    WAITING_FOR_APPROVAL = "waiting_for_approval"
    ADMITTED = "admitted"
    QUARANTINED = "quarantined"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class EngineDevice:
    """A device as an engine names it."""

    name: str
    kind: AcceleratorKind
    description: str = ""


@dataclass(frozen=True, slots=True)
class Engine:
    adapter: str
    path: str
    sha256: str
    version: str = ""
    image: str = ""
    """The name of the container image that it lies in; empty: it runs natively."""
    devices: tuple[EngineDevice, ...] | None = None
    """What it can use beside the processor; None: it does not say."""

    def can_use(self, kind: AcceleratorKind) -> bool:
        """Unless it says that it cannot."""
        return self.devices is None or any(device.kind is kind for device in self.devices)


@dataclass(frozen=True, slots=True)
class LocalLimits:
    """What the owner of the machine lets it run, as the node said; None: no limit."""

    file: str = ""
    denied_adapters: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    """None at all: an agent that does not tell."""
    max_runtimes: int | None = None
    memory_bytes: int | None = None
    memory_per_runtime_bytes: int | None = None
    closed: Problem | None = None
    """Why the node takes nothing new now."""

    def allows(self, mode: ExecutionMode) -> bool:
        return not self.modes or mode in self.modes


@dataclass(frozen=True, slots=True)
class NodeInventory:
    os: str = ""
    arch: str = ""
    os_release: str = ""
    cpu_cores: int = 0
    memory_bytes: int = 0
    accelerators: tuple[Accelerator, ...] = ()
    engines: tuple[Engine, ...] = ()
    limits: LocalLimits = LocalLimits()
    sandbox: tuple[SandboxLayer, ...] = ()
    """What the next engine that is started there gets."""
    execution: tuple[ExecutionOffer, ...] = ()
    """None: an agent that knows native alone."""


@dataclass(frozen=True, slots=True)
class Drain:
    """An operator wants the node empty."""

    since: datetime
    until: datetime | None = None
    """What fits nowhere else is stopped then; None: it stays until it fits."""

    def is_over(self, now: datetime) -> bool:
        return self.until is not None and now >= self.until


@dataclass(frozen=True, slots=True)
class Node:
    """What is stored of a node: its admission, its certificate, and what it said in its last Hello."""

    id: NodeId
    uid: str
    etag: str
    standing: Standing
    labels: dict[str, str] = field(default_factory=dict)
    schedulable: bool = True
    machine_id_hash: str = ""
    public_key_sha256: str = ""
    """Of the key in the CSR that enrolled it."""
    certificate_serial: str = ""
    """Lower-case hex; the only serial that may connect, beside the pending one."""
    pending_serial: str = ""
    """Of a renewed certificate; becomes current when first used."""
    certificate_expire_time: datetime | None = None
    newer_certificate_believed: bool = False
    """The database was put back: a certificate that ends later was issued since, and is active once it is used."""
    trust: NodeTrust = field(default_factory=NodeTrust)
    session_epoch: int = 0
    installation_id: str = ""
    boot_id: str = ""
    agent_version: str = ""
    agent_pid: int = 0
    inventory: NodeInventory = NodeInventory()
    create_time: datetime | None = None
    last_contact_time: datetime | None = None
    """As of the last connect or disconnect; heartbeats are not written."""
    drain: Drain | None = None
    overcommit: bool = False
    """An operator lets runtimes together need more memory than it has."""
    given_up_epoch: int = 0
    """An operator gave it up while it was silent after this session: the word ends with the next one."""


@dataclass(frozen=True, slots=True)
class HeldRemoval:
    """An instance whose removal the node's guard holds back: it runs on as this revision of its spec."""

    runtime: RuntimeId
    spec_revision: int
    """0: the node lost the spec."""


@dataclass(frozen=True, slots=True)
class Liveness:
    """What is known in memory of a node's connection."""

    online: bool
    last_contact: datetime | None = None
    offline_since: datetime | None = None
    """None also while a node that was not heard since this process started may still come back in time."""
    applied_revision: int = 0
    session_epoch: int = 0
    problems: tuple[Problem, ...] = ()
    """What the node said last is wrong with it as a whole."""
    held: tuple[HeldRemoval, ...] = ()
    """The removals that it said last it holds back."""
    usage: NodeUsage | None = None
    """As of the last heartbeats; None while it is offline, or does not know."""
