"""Whether an engine that takes requests gives anything back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from node_agent.domain.timers import Timers

BUSY_SHARE = 0.1
"""Of one core: an engine that computes takes more, one that only waits and answers probes takes less."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests that one engine has in hand. Times are seconds of one monotonic clock."""

    requests: int
    since: float
    """When the oldest of them was sent."""
    last_byte: float | None = None
    """From the engine, for any request of that time, also for one that is answered by now."""
    answering: bool = False
    """Some of them have their first byte."""
    held: bool = False
    """A client does not read: the engine may well wait for it, so its silence says nothing."""


@dataclass(frozen=True, slots=True)
class Sign:
    """What an engine showed of its work at one time."""

    at: float
    word: str | None
    """Another one after each token that was read or made; None: it keeps no such count, or did not answer."""
    cpu: timedelta
    """Processor time of its whole tree."""


def works(before: Sign, after: Sign) -> bool:
    """By its own word where it gives one, else by the processor time that it takes."""
    if before.word is not None and after.word is not None:
        return before.word != after.word
    return after.cpu - before.cpu >= BUSY_SHARE * timedelta(seconds=after.at - before.at)


@dataclass(frozen=True, slots=True)
class Stall:
    """Requests are in hand, and nothing came out for too long."""

    traffic: Traffic
    age: timedelta
    """Of the oldest request."""
    quiet: timedelta
    limit: timedelta
    final: bool
    """The limit is over; until then it is only slow."""


def stall(traffic: Traffic, worked: float, now: float, timers: Timers) -> Stall | None:
    """`worked`: when it last showed work of any kind. From half of its deadline on it counts as slow."""
    limit = timers.between_bytes if traffic.answering else timers.first_byte
    quiet = timedelta(seconds=now - max(traffic.since, traffic.last_byte or 0.0, worked))
    if traffic.held or quiet < limit / 2:
        return None
    return Stall(traffic, timedelta(seconds=now - traffic.since), quiet, limit, quiet >= limit)
