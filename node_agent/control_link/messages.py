"""What the agent and the control plane say to each other, without protobuf."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from node_agent.domain.inventory import Inventory, NodeUsage
from node_agent.domain.spec import InstanceName, InstanceSpec
from node_agent.domain.status import InstanceStatus, Problem
from node_agent.domain.trust import TrustBundle

PROTOCOL = 1
CAPABILITIES = (
    *("desired.delta/1", "logs.push/1", "relay.http1/1"),
    *("replicas.many/1", "instances.probe/1", "trust.bundle/1"),
)
TRUST = "trust.bundle/1"


@dataclass(frozen=True, slots=True)
class Me:
    """Who this agent process is, for the whole of its life."""

    node: str
    process_id: str
    installation_id: str
    boot_id: str
    machine_id_hash: str
    agent_version: str
    agent_pid: int


@dataclass(frozen=True, slots=True)
class Hello:
    me: Me
    history_id: str
    desired_revision: int
    desired_digest: bytes
    inventory: Inventory


@dataclass(frozen=True, slots=True)
class Replica:
    grpc_address: str
    relay_address: str = ""
    relay_unix_path: str = ""


@dataclass(frozen=True, slots=True)
class Welcome:
    session_epoch: int
    history_id: str
    heartbeat_period: timedelta
    capabilities: tuple[str, ...] = ()
    protocol: int = PROTOCOL
    replicas: tuple[Replica, ...] = ()
    """The one that welcomes first."""
    parked_connections: int = 0


@dataclass(frozen=True, slots=True)
class ReplicasChanged:
    """Stands in place of what Welcome said of them."""

    replicas: tuple[Replica, ...]
    parked_connections: int


@dataclass(frozen=True, slots=True)
class Refused:
    problem: Problem
    retry_after: timedelta | None = None
    """None: only a person can help."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A resource of a batch. Its spec is a Problem when the message itself made no sense."""

    name: InstanceName
    generation: int
    revision: int
    spec: InstanceSpec | Problem


@dataclass(frozen=True, slots=True)
class Removal:
    name: InstanceName
    revision: int


@dataclass(frozen=True, slots=True)
class AllowedRemoval:
    """A held removal that an operator lets through."""

    name: InstanceName
    spec_revision: int
    """Of the spec that it runs on with; 0: that is lost."""


@dataclass(frozen=True, slots=True)
class DesiredBatch:
    nonce: int
    from_revision: int
    to_revision: int
    snapshot: bool = False
    last_chunk: bool = True
    resources: tuple[Wanted, ...] = ()
    removals: tuple[Removal, ...] = ()
    digest_after: bytes = b""
    allowed_removals: tuple[AllowedRemoval, ...] = ()


@dataclass(frozen=True, slots=True)
class ResourceProblem:
    name: str
    generation: int
    problem: Problem
    spec_revision: int = 0
    """Of a held removal: what names it, as in AllowedRemoval."""


@dataclass(frozen=True, slots=True)
class DesiredAck:
    nonce: int
    desired_revision: int
    desired_digest: bytes
    problems: tuple[ResourceProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class ObservedReport:
    observed_seq: int
    full: bool
    instances: tuple[InstanceStatus, ...] = ()
    gone: tuple[InstanceName, ...] = ()


@dataclass(frozen=True, slots=True)
class Heartbeat:
    observed_seq: int
    desired_revision: int
    self_lateness: timedelta = timedelta()
    usage: NodeUsage | None = None
    """None: not known now."""


@dataclass(frozen=True, slots=True)
class InventoryReport:
    """The machine is no longer what Hello said."""

    inventory: Inventory


@dataclass(frozen=True, slots=True)
class HeartbeatAck:
    heartbeat_seq: int
    next_period: timedelta | None = None


@dataclass(frozen=True, slots=True)
class ReportFullState:
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ParkConnections:
    idle: int
    relay_address: str = ""
    """Of the replica that wants them; empty: the one that says so."""


@dataclass(frozen=True, slots=True)
class LogRequest:
    subscription: str
    instance: InstanceName
    tail_lines: int
    follow: bool
    whole: bool = False
    grpc_address: str = ""
    """Of the replica to send it to; empty: the one that asks."""


@dataclass(frozen=True, slots=True)
class ProbeInstance:
    """Ask its engine now how it is; its next report names the request."""

    request: str
    instance: InstanceName


@dataclass(frozen=True, slots=True)
class TrustReport:
    bundle_digest: bytes


@dataclass(frozen=True, slots=True)
class DrainNotice:
    reconnect_within: timedelta


class GoodbyeKind(StrEnum):
    RESTART = "restart"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class Goodbye:
    kind: GoodbyeKind = GoodbyeKind.RESTART


@dataclass(frozen=True, slots=True)
class Unknown:
    """A body that a newer control plane may send; it is ignored."""


AgentBody = Hello | DesiredAck | ObservedReport | Heartbeat | InventoryReport | TrustReport | Goodbye
ControlBody = (
    Welcome
    | Refused
    | DesiredBatch
    | HeartbeatAck
    | ReportFullState
    | ParkConnections
    | LogRequest
    | ProbeInstance
    | DrainNotice
    | ReplicasChanged
    | TrustBundle
    | Unknown
)


@dataclass(frozen=True, slots=True)
class AgentEnvelope:
    seq: int
    session_epoch: int
    body: AgentBody


@dataclass(frozen=True, slots=True)
class ControlEnvelope:
    seq: int
    session_epoch: int
    body: ControlBody
