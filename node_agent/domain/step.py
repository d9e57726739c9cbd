"""What the supervisor can be told to do next with an instance."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from node_agent.domain.spec import InstanceName, InstanceSpec
from node_agent.domain.status import Problem


class Cause(StrEnum):
    DESIRED = "desired"
    CHANGED = "changed"
    RESTORED = "restored"
    AUTOMATIC = "automatic"
    """The only one that the restart budget pays for."""


@dataclass(frozen=True, slots=True)
class Adopt:
    name: InstanceName


@dataclass(frozen=True, slots=True)
class Start:
    spec: InstanceSpec
    cause: Cause

    @property
    def name(self) -> InstanceName:
        return self.spec.name


@dataclass(frozen=True, slots=True)
class Restart:
    """Another launch in the place of what runs: beside it where there is room, else after its stop."""

    spec: InstanceSpec
    cause: Cause

    @property
    def name(self) -> InstanceName:
        return self.spec.name


@dataclass(frozen=True, slots=True)
class Switch:
    """What was launched beside it is ready: requests go there, and the earlier engine ends with what it has in hand."""

    name: InstanceName


@dataclass(frozen=True, slots=True)
class Abandon:
    """End what was launched beside it: something else is wanted."""

    name: InstanceName


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing runs afterwards, nothing is pending, nothing is held against it."""

    name: InstanceName


@dataclass(frozen=True, slots=True)
class Retry:
    """Wait for the back-off, then it may be started automatically."""

    name: InstanceName


@dataclass(frozen=True, slots=True)
class Fail:
    name: InstanceName
    exhausted: bool
    """The restart budget is why."""


@dataclass(frozen=True, slots=True)
class ResetBudget:
    name: InstanceName


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """This restore was acted on, or refused; never again."""

    name: InstanceName
    serial: int


@dataclass(frozen=True, slots=True)
class Forget:
    """Remove the directory of an instance that nobody wants and that does not run."""

    name: InstanceName


@dataclass(frozen=True, slots=True)
class Deny:
    """The node's owner does not let it run now. Nothing is started until that changes."""

    name: InstanceName
    problem: Problem


@dataclass(frozen=True, slots=True)
class Reclaim:
    """Stop it: the node's owner does not let it run any more, and the time that the notice gave is over."""

    name: InstanceName
    problem: Problem


Step = (
    Adopt
    | Start
    | Restart
    | Switch
    | Abandon
    | Stop
    | Retry
    | Fail
    | ResetBudget
    | Acknowledge
    | Forget
    | Deny
    | Reclaim
)
