"""What the link needs beside the use cases' ports; the composition root fills them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from node_agent.control_link.messages import Replica
from node_agent.domain.offer import Offer
from node_agent.domain.status import Problem
from node_agent.domain.trust import TrustBundle


class Credentials(Protocol):
    """This node's certificate, and the renewed one until it proved itself."""

    def offer(self) -> Offer:
        """For the next attempt."""

    def accepted(self, offer: Offer) -> None:
        """The control plane welcomed it; a candidate becomes the certificate."""

    def failed(self, offer: Offer) -> None:
        """An attempt failed: the next one tries the other, when there is one."""

    def refused(self, offer: Offer) -> bool:
        """The control plane refused it. True when an older one is left to try; the candidate is dropped."""

    def trusted(self) -> bytes:
        """Digest of the authorities that the next connection trusts."""

    def trust(self, bundle: TrustBundle) -> None:
        """Trust these, unless that would lock this node out; renew what a tainted one signed."""

    def problem(self) -> Problem | None:
        """What its own dates say against it now."""


class Relay(Protocol):
    """Keeps data-path connections parked at the control plane."""

    def configure(self, epoch: int, replicas: Sequence[Replica], parked: int) -> None:
        """Park there for this session, which may have begun before."""

    def park(self, idle: int, relay_address: str = "") -> None:
        """A replica asks for more; empty: the first one of those configured."""


class Contact(Protocol):
    """Remembers when the control plane was last heard."""

    def heard(self, at: float) -> None:
        """Something came over an open stream, at this time of the link's clock. Called for whatever happens there."""

    def lost(self) -> None:
        """The stream is over."""


class NoContact:
    """Nobody asks."""

    def heard(self, at: float) -> None:
        del at

    def lost(self) -> None:
        return


class LinkState(StrEnum):
    """As `arw-node-agent status` shows it, also offline."""

    CONNECTING = "connecting"
    SYNCING = "syncing"
    IN_SYNC = "in_sync"
    DISCONNECTED = "disconnected"
    REFUSED = "refused"
    CERTIFICATE_EXPIRED = "certificate_expired"
    QUARANTINED = "quarantined"
    HISTORY_CHANGED = "history_changed"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class LinkStatus:
    state: LinkState
    since: datetime
    last_contact: datetime | None = None
    server: str = ""
    session_epoch: int = 0
    problem: Problem | None = None


class StatusBoard(Protocol):
    """Where the link shows its state."""

    def show(self, status: LinkStatus) -> None:
        """Called on each change of state; never raises."""
