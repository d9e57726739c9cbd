"""An empty database must not stop a fleet: sudden, large removals wait until a person can step in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from node_agent.domain.spec import InstanceName, InstanceSpec
from node_agent.domain.status import Problem

ALLOWED_SHARE = 0.3
ALLOWED_AT_LEAST = 1


@dataclass(slots=True)
class RemovalGuard:
    """Removed specs whose engines run on for a while. Times are seconds of one monotonic clock."""

    hold: float
    _held: dict[InstanceName, tuple[InstanceSpec, float]] = field(default_factory=dict)

    @property
    def held(self) -> tuple[InstanceSpec, ...]:
        return tuple(spec for spec, _ in self._held.values())

    def allows(self, removed: Collection[InstanceName], running: Collection[InstanceName]) -> bool:
        """Whether these may stop at once, with what already waits counted in."""
        stops = (set(removed) | set(self._held)) & set(running)
        return len(stops) <= max(ALLOWED_AT_LEAST, ALLOWED_SHARE * len(running))

    def keep(self, specs: Mapping[InstanceName, InstanceSpec], now: float) -> None:
        for name, spec in specs.items():
            self._held.setdefault(name, (spec, now + self.hold))

    def wanted_again(self, name: InstanceName) -> None:
        self._held.pop(name, None)

    def release_all(self) -> None:
        self._held.clear()

    def release(self, now: float) -> bool:
        """Let go of what waited long enough; True when there was any."""
        over = [name for name, (_, until) in self._held.items() if now >= until]
        for name in over:
            del self._held[name]
        return bool(over)

    def next_event(self) -> float | None:
        return min((until for _, until in self._held.values()), default=None)

    def problem(self, name: InstanceName) -> Problem:
        return Problem(
            "REMOVAL_GUARD",
            f"{name} was removed together with a large part of what runs here, so it stops only in {self.hold:.0f} s.",
            "Declare it again to keep it, or repeat the removal with the override to stop it at once.",
            {"instance": name},
        )
