"""How fast an engine is for one request alone, told from two readings of its own counters."""

from __future__ import annotations

from dataclasses import dataclass

from node_agent.domain.footprint import Speeds

TOKENS = 64
"""Fewer tell more of a single request than of the engine."""
ALONE = 1.02
"""Requests in one step of the model, on average, that still count as one."""
MOSTLY = 4
"""An engine counts the first token of each answer, and time only from there on, so many short answers look fast. As
reading a prompt takes at least one step, they are few where generating took this many times as long as reading."""
SURE = 1 / 2000
"""Engines write six digits: a difference that is a smaller share of the whole says nothing."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Since the engine started, read while it was idle: no request is counted by half."""

    generated_tokens: float
    generated_seconds: float
    prompt_tokens: float
    """That it read: what its cache held is left out."""
    prompt_seconds: float
    steps: float
    """Of the model."""
    busy: float
    """Requests in each of these steps, added up."""


class SpeedMeter:
    """A busy engine is never seen idle, and one that serves several requests at once says nothing of one alone."""

    def __init__(self) -> None:
        self._generating: Counted | None = None
        self._reading: Counted | None = None
        """Where the span began whose end is not told yet."""

    def idle(self, now: Counted) -> Speeds:
        """What the spans tell that end here."""
        generated = prompt = None
        if _over(self._generating, now, "generated_tokens"):
            generated, self._generating = _generated(self._generating, now), now
        if _over(self._reading, now, "prompt_tokens"):
            prompt, self._reading = _prompt(self._reading, now), now
        return Speeds(generated, prompt)


def _over(since: Counted | None, now: Counted, tokens: str) -> bool:
    """It holds enough, or what is of no use."""
    return since is None or not _alone(since, now) or _grown(since, now, tokens) >= TOKENS


def _alone(since: Counted, now: Counted) -> bool:
    return now.busy - since.busy <= ALONE * (now.steps - since.steps)


def _generated(since: Counted | None, now: Counted) -> float | None:
    if since is None or not _alone(since, now):
        return None
    seconds = _grown(since, now, "generated_seconds")
    mostly = seconds > MOSTLY * (now.prompt_seconds - since.prompt_seconds)
    return _grown(since, now, "generated_tokens") / seconds if mostly else None


def _prompt(since: Counted | None, now: Counted) -> float | None:
    if since is None or not _alone(since, now):
        return None
    seconds = _grown(since, now, "prompt_seconds")
    return _grown(since, now, "prompt_tokens") / seconds if seconds else None


def _grown(since: Counted, now: Counted, name: str) -> float:
    """0 where the difference is too small to be sure of."""
    whole = float(getattr(now, name))
    found = whole - float(getattr(since, name))
    return found if found >= SURE * whole else 0.0
