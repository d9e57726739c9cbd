"""When an agent that dies again and again stops to act."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from node_agent.domain.status import Problem

TOO_MANY = 3
"""Starts in a row that died before they had settled."""


@dataclass(frozen=True, slots=True)
class CrashTimers:
    settled: timedelta = timedelta(minutes=1)
    """A start that lives this long is no part of a loop."""
    trusted: timedelta = timedelta(minutes=10)
    """After this long in safe mode it acts again."""


SECOND_LONG = CrashTimers(timedelta(milliseconds=50), timedelta(seconds=8))


def loops(died: int) -> bool:
    return died >= TOO_MANY


def safe_mode(node: str, died: int) -> Problem:
    text = f"The agent of node {node} died {died} times in a row as it started; it keeps what runs, and does no more."
    remedy = "Read its log. `arw-node-agent run --leave-safe-mode` acts again at once, else ten quiet minutes do."
    return Problem("AGENT_SAFE_MODE", text, remedy, {"died": str(died)})
