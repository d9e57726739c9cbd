"""Reads an engine's own metrics, and gives them the names that all kinds share."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import timedelta

from node_agent.runtimes.kinds.adapter import Gauges
from node_agent.runtimes.probe import HOST, NoAnswer, get

SAMPLE = re.compile(r'([A-Za-z_:][\w:]*)(?:\{(?:[^"}]|"(?:\\.|[^"\\])*")*\})?\s+(\S+)')
OK = 200

Names = Mapping[str, Sequence[str]]
"""Field of Gauges to the names that versions of the engine have given it."""


def joined(*kinds: Names) -> Names:
    """For an engine that may be any of several."""
    return {field.name: [name for kind in kinds for name in kind.get(field.name, ())] for field in fields(Gauges)}


def samples(text: str) -> dict[str, float]:
    """Of each name the sum over its labels; what is no finite number is left out."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        match = SAMPLE.match(line)
        value = _number(match[2]) if match else None
        if match is not None and value is not None:
            found[match[1]] = found.get(match[1], 0.0) + value
    return found


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def gauges_of(text: str, names: Names) -> Gauges:
    said = samples(text)
    known = {field.name: _first(said, names.get(field.name, ())) for field in fields(Gauges)}
    return Gauges(**known)


def _first(said: Mapping[str, float], names: Sequence[str]) -> float | None:
    return next((said[name] for name in names if name in said), None)


async def scraped(port: int, names: Names, patience: timedelta, headers: Mapping[str, str], host: str = HOST) -> Gauges:
    """The gauges at /metrics; all None when there are none."""
    try:
        answer = await get(port, "/metrics", patience, headers, host)
    except NoAnswer:
        return Gauges()
    return gauges_of(answer.body.decode(errors="replace"), names) if answer.status == OK else Gauges()
