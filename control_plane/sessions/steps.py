"""What the session core asks of whoever drives it, in the order given."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from arw.v1 import session_pb2 as pb
from control_plane.domain.accelerator import NodeUsage
from control_plane.domain.ids import RuntimeId
from control_plane.domain.instance import Instance
from control_plane.domain.node import HeldRemoval, NodeInventory
from control_plane.domain.problem import Problem
from wire.refusal import Refusal


@dataclass(frozen=True, slots=True)
class Admit:
    """Open a session durably, then call `ServerSession.admitted` or `refuse`."""

    hello: pb.Hello


@dataclass(frozen=True, slots=True)
class Say:
    """Put the message, which has only a body, into the outbox."""

    message: pb.ControlMessage


@dataclass(frozen=True, slots=True)
class Load:
    """Read desired state as `ServerSession.wanted` says, then call `loaded`."""


@dataclass(frozen=True, slots=True)
class Observe:
    """Record what the node reports."""

    instances: tuple[Instance, ...]
    gone: tuple[RuntimeId, ...]
    full: bool


@dataclass(frozen=True, slots=True)
class Reject:
    """The node would not take this generation of a runtime; said once a generation."""

    runtime: RuntimeId
    generation: int
    problem: Problem


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The node refuses these no more; what stood for them is no news of the node."""

    runtimes: tuple[RuntimeId, ...]


@dataclass(frozen=True, slots=True)
class Contact:
    """The node is alive and has stored desired state up to this revision."""

    applied_revision: int


@dataclass(frozen=True, slots=True)
class Measure:
    """What the node's devices do now."""

    usage: NodeUsage


@dataclass(frozen=True, slots=True)
class Advertise:
    """The node's machine is no longer what its Hello said."""

    inventory: NodeInventory


@dataclass(frozen=True, slots=True)
class Note:
    """Worth a log line: a fixed event with fields."""

    event: str
    fields: dict[str, str]


@dataclass(frozen=True, slots=True)
class Close:
    """End the stream; nothing follows."""

    refusal: Refusal | None
    """None: it ends in good order."""
    retry_after: timedelta | None = None
    for_good: bool = False
    """The node stopped its instances and leaves, so nobody need wait for it to resume."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """All that is wrong with the node as a whole; nothing: it is well."""

    problems: tuple[Problem, ...]
    held: tuple[HeldRemoval, ...] = ()
    """The removals that it holds back."""


@dataclass(frozen=True, slots=True)
class Trusts:
    """The node said which bundle of authorities it has, by its digest."""

    digest: str


Step = (
    Admit | Say | Load | Observe | Reject | Withdraw | Trouble | Advertise | Measure | Contact | Trusts | Note | Close
)
