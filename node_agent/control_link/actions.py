"""What the session asks of whoever drives it. Messages are not among them: the writer takes those itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from node_agent.control_link.messages import LogRequest, Welcome
from node_agent.domain.spec import InstanceName, InstanceSpec
from node_agent.domain.status import Problem


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


@dataclass(frozen=True, slots=True)
class Desire:
    """Give the supervisor this whole set."""

    specs: tuple[InstanceSpec, ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """The control plane took us in."""

    welcome: Welcome


@dataclass(frozen=True, slots=True)
class Settled:
    """The first heartbeat was answered: the connection is good, back-off starts over."""


@dataclass(frozen=True, slots=True)
class Park:
    idle: int


@dataclass(frozen=True, slots=True)
class ReadLogs:
    request: LogRequest


@dataclass(frozen=True, slots=True)
class Leave:
    """End this stream."""

    why: str
    reconnect_after: timedelta | None = None
    """None: the ordinary back-off decides."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End this stream; only a person can help."""

    problem: Problem


Action = Check | Store | Desire | Opened | Settled | Park | ReadLogs | Leave | GiveUp
