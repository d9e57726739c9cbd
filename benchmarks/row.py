"""One line of the result table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """A figure beside a named baseline of the same run."""

    name: str
    unit: str
    ours: float
    beside: float | None
    """None: nothing comparable exists; the target then stands alone."""
    baseline: str
    compared: float
    """Ratio or difference, as `comparison` says."""
    comparison: str
    """"ratio", "difference" or "value"."""
    target: str
    holds: bool

    @classmethod
    def ratio(cls, name: str, unit: str, *, ours: float, beside: float, baseline: str, at_least: float) -> Row:
        value = ours / beside
        return cls(name, unit, ours, beside, baseline, value, "ratio", f">= {at_least}", value >= at_least)

    @classmethod
    def growth(cls, name: str, unit: str, *, ours: float, beside: float, baseline: str, at_most: float) -> Row:
        value = ours / beside
        return cls(name, unit, ours, beside, baseline, value, "ratio", f"<= {at_most}", value <= at_most)

    @classmethod
    def difference(cls, name: str, unit: str, *, ours: float, beside: float, baseline: str, at_most: float) -> Row:
        value = ours - beside
        return cls(name, unit, ours, beside, baseline, value, "difference", f"<= {at_most} {unit}", value <= at_most)

    @classmethod
    def value(cls, name: str, unit: str, *, ours: float, at_most: float, baseline: str = "") -> Row:
        return cls(name, unit, ours, None, baseline, ours, "value", f"<= {at_most} {unit}", ours <= at_most)


def median(samples: Sequence[float]) -> float:
    return statistics.median(samples)
