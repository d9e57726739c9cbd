"""What a launch tells its owner."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from node_agent.domain.device_trouble import Trouble
from node_agent.domain.footprint import Footprint
from node_agent.domain.status import Problem
from node_agent.runtimes.kinds.adapter import Gauges, InUse
from node_agent.runtimes.launcher import Running
from node_agent.runtimes.records import ExitNote, LaunchRecord
from node_agent.runtimes.slots import Filled


@dataclass(frozen=True, slots=True)
class Launched:
    running: Running
    record: LaunchRecord


@dataclass(frozen=True, slots=True)
class WarmingUp:
    """It answers, and reads what chats will begin with."""

    text: str


@dataclass(frozen=True, slots=True)
class Ready:
    in_use: InUse
    prompt_cache: Filled
    look: Look


@dataclass(frozen=True, slots=True)
class Warmed:
    """By a request: its prompt cache holds something now."""


@dataclass(frozen=True, slots=True)
class Probed:
    latency: timedelta | None
    """None: no answer in time."""
    misses: int
    """In a row."""
    gauges: Gauges


Look = Callable[[], Awaitable[Probed | None]]
"""Asks an engine how it is now; None: it ended meanwhile."""


@dataclass(frozen=True, slots=True)
class Progressed:
    """Whether it gives back what it is asked for."""

    slow: Problem | None
    """None: it does, or nothing is asked of it."""


@dataclass(frozen=True, slots=True)
class DeviceTold:
    """How the devices that it runs on are."""

    trouble: Trouble | None
    """None: well again."""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """It runs, but it is of no use: it is being stopped."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Unkillable:
    """It survives SIGKILL; nothing is started in its place."""


@dataclass(frozen=True, slots=True)
class Learnt:
    footprint: Footprint


Event = Launched | Learnt | WarmingUp | Ready | Warmed | Probed | Progressed | DeviceTold | GivenUp | Unkillable


@dataclass(frozen=True, slots=True)
class End:
    """How a launch ended without being told to."""

    problem: Problem
    note: ExitNote | None
    log_tail: tuple[str, ...] = ()
    hopeless: bool = False
    port_taken: bool = False
