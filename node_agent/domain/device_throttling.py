"""Which limits hold a device back, and from when on that is worth a word."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Limit(StrEnum):
    """The worst one first. A mere cap on power under load is as it should be, and none of these."""

    THERMAL = "thermal limit"
    POWER = "power limit"
    SLOWDOWN = "hardware slowdown"
    """The device does not say whether for heat or for power."""


CAUSES = {
    "hardware_thermal": Limit.THERMAL,
    "software_thermal": Limit.THERMAL,
    "hardware_power_brake": Limit.POWER,
}


def limits_in(reasons: Iterable[str]) -> frozenset[Limit]:
    """Of `AcceleratorUsage.throttle_reasons`. A bare slowdown counts only when nothing says what it is for."""
    told = frozenset(reasons)
    found = frozenset(limit for name, limit in CAUSES.items() if name in told)
    return found or frozenset({Limit.SLOWDOWN} if "hardware_slowdown" in told else ())


@dataclass(frozen=True, slots=True)
class Lasting:
    """A condition that counts once it held for long, and until it was away for as long."""

    counts: bool = False
    otherwise_since: float | None = None
    """Seconds; None: it is as it counts."""

    def seen(self, now: float, long_s: float, *, holds: bool) -> Lasting:
        if holds is self.counts:
            return Lasting(self.counts)
        since = now if self.otherwise_since is None else self.otherwise_since
        return Lasting(holds) if now - since >= long_s else Lasting(self.counts, since)
