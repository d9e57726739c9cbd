"""What the session asks of whoever drives it. Messages are not among them: the writer takes those itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from node_agent.control_link.messages import LogRequest, ProbeInstance, ReplicasChanged, Welcome
from node_agent.domain.spec import InstanceName, InstanceSpec
from node_agent.domain.status import Problem
from node_agent.domain.trust import TrustBundle
from node_agent.use_cases.ports import DesiredStore, HeldInstance


@dataclass(frozen=True, slots=True)
class Check:
    """Ask the supervisor about each spec, then call `AgentSession.checked`."""

    specs: tuple[InstanceSpec, ...]


@dataclass(frozen=True, slots=True)
class Store:
    """Write this durably, then call `AgentSession.stored` or `.unstored`."""

    history_id: str
    revision: int | None
    """None: not the last chunk; what was complete before stays so."""
    changed: tuple[InstanceSpec, ...] = ()
    removed: tuple[InstanceName, ...] = ()
    held: tuple[HeldInstance, ...] = ()
    """All that the removal guard holds once this counts."""

    def write(self, store: DesiredStore) -> None:
        store.apply(self.history_id, self.revision, self.changed, self.removed, self.held)


@dataclass(frozen=True, slots=True)
class Desire:
    """Give the supervisor this whole set."""

    specs: tuple[InstanceSpec, ...]
    held: tuple[InstanceName, ...] = ()
    """Removed, and run on for now; one without a spec here was found running, and nobody knows its spec."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The control plane took us in."""

    welcome: Welcome


@dataclass(frozen=True, slots=True)
class Settled:
    """The first heartbeat was answered: the connection is good, back-off starts over."""


@dataclass(frozen=True, slots=True)
class Regroup:
    """Replicas of the control plane came or went."""

    told: ReplicasChanged


@dataclass(frozen=True, slots=True)
class Park:
    idle: int
    relay_address: str = ""


@dataclass(frozen=True, slots=True)
class ReadLogs:
    request: LogRequest


@dataclass(frozen=True, slots=True)
class Probe:
    asked: ProbeInstance


@dataclass(frozen=True, slots=True)
class Trust:
    """Trust these from the next connection on."""

    told: TrustBundle


@dataclass(frozen=True, slots=True)
class Leave:
    """End this stream."""

    why: str
    reconnect_after: timedelta | None = None
    """None: the ordinary back-off decides."""
    stay: bool = False
    """The next stream may be to the same replica: nothing is wrong with it."""
    replica_out: bool = False
    """It is this replica that cannot go on; another one may, without any delay."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End this stream; only a person can help."""

    problem: Problem


Action = Check | Store | Desire | Opened | Settled | Regroup | Park | ReadLogs | Probe | Trust | Leave | GiveUp
