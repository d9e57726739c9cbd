"""A node together with what is known of its connection."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from control_plane.domain.footprint import Footprints
from control_plane.domain.ids import RuntimeId
from control_plane.domain.instance import InstanceState, Severity
from control_plane.domain.node import Liveness, Node, NodeState, Standing
from control_plane.domain.problem import Problem

PATIENCE = timedelta(seconds=60)
"""How long a silent node is a warning before it is an error."""
MAX_PLACED = 1000
"""Runtimes that a node is given, unless a control plane is told otherwise."""
FLAPS = 3
"""A node that went so often within a while takes nothing new before it was steady for a while."""

_STANDING = {
    Standing.WAITING_FOR_APPROVAL: NodeState.WAITING_FOR_APPROVAL,
    Standing.QUARANTINED: NodeState.QUARANTINED,
    Standing.REVOKED: NodeState.REVOKED,
}

_SUMMARY = {
    NodeState.WAITING_FOR_APPROVAL: "Waiting for an operator's approval",
    NodeState.QUARANTINED: "Quarantined: two agents used one identity; approve or revoke it",
    NodeState.REVOKED: "Revoked; returns only with a new join token",
    NodeState.ENROLLED: "Has never connected",
    NodeState.ONLINE: "Connected",
}


@dataclass(frozen=True, slots=True)
class Remainder:
    """What has not left a node that is drained."""

    runtime: RuntimeId
    state: InstanceState
    placed: bool
    """False: it has its place elsewhere or nowhere, and only its instance here has not ended."""
    problem: Problem | None = None
    """Why it stays."""


@dataclass(frozen=True, slots=True)
class NodeView:
    node: Node
    liveness: Liveness
    footprints: Footprints = field(default_factory=dict)
    """Of the whole fleet."""
    strain: int = 0
    """By the health of what is placed there, where placement asks; 0: all is well."""
    unsteady_until: datetime | None = None
    """It came and went of late, and takes nothing new before; where placement asks."""
    most_runtimes: int = MAX_PLACED
    """That placement gives it."""
    remainders: tuple[Remainder, ...] = ()
    """Of a node that is drained, where somebody asked for them."""

    @property
    def state(self) -> NodeState:
        if self.node.standing is not Standing.ADMITTED:
            return _STANDING[self.node.standing]
        if self.liveness.online:
            return NodeState.ONLINE
        return NodeState.OFFLINE if self.node.session_epoch else NodeState.ENROLLED

    @property
    def given_up(self) -> bool:
        """Silent, and lost as far as an operator knows."""
        return not self.liveness.online and 0 < self.node.session_epoch == self.node.given_up_epoch

    @property
    def summary(self) -> str:
        if self.state is NodeState.ONLINE and self.problems:
            return self.problems[0].text
        if self.state is NodeState.ONLINE and self.node.drain is not None:
            return "Connected; it is being drained"
        if self.state is not NodeState.OFFLINE:
            return _SUMMARY[self.state]
        contact = self.last_contact
        return f"No contact since {contact:%Y-%m-%dT%H:%M:%SZ}" if contact else "Not connected"

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What the node says is wrong with it as a whole, or keeps it from taking anything new."""
        closed = self.node.inventory.limits.closed
        return (*self.liveness.problems, *((closed,) if closed is not None else ()))

    @property
    def troubles(self) -> tuple[Problem, ...]:
        """Those that somebody has to do something about."""
        return tuple(filter(_troubles, self.problems))

    @property
    def last_contact(self) -> datetime | None:
        return self.liveness.last_contact or self.node.last_contact_time

    def severity(self, now: datetime, patience: timedelta = PATIENCE) -> Severity:
        match self.state:
            case NodeState.ONLINE:
                return Severity.WARN if self.troubles else Severity.INFO
            case NodeState.QUARANTINED:
                return Severity.ERROR
            case NodeState.OFFLINE:
                since = self.liveness.offline_since
                return Severity.ERROR if since and now - since > patience else Severity.WARN
            case NodeState.WAITING_FOR_APPROVAL | NodeState.ENROLLED | NodeState.REVOKED:
                return Severity.WARN


def _troubles(problem: Problem) -> bool:
    """That a node is outside the hours that its owner set is in order."""
    return problem.metadata.get("rule") != "hours"
