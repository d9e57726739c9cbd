"""An empty database must not stop a fleet: sudden, large removals wait until a person can step in."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from node_agent.control_link.actions import Desire
from node_agent.control_link.messages import AllowedRemoval, ResourceProblem
from node_agent.domain.spec import InstanceName, InstanceSpec
from node_agent.domain.status import Problem
from node_agent.use_cases.ports import HeldInstance

ALLOWED_SHARE = 0.3
ALLOWED_AT_LEAST = 1


@dataclass(slots=True)
class RemovalGuard:
    """Removed instances whose engines run on for a while. Times are seconds of one boot's clock.

    What it answers counts only when it is stored: then `keep` it.
    """

    hold: float
    boot_id: str = ""
    _held: dict[InstanceName, HeldInstance] = field(default_factory=dict)

    @classmethod
    def of(cls, hold: float, boot_id: str, stored: Iterable[HeldInstance]) -> Self:
        """After a boot nothing runs, so nothing of an earlier one is held."""
        return cls(hold, boot_id, {held.name: held for held in stored if held.boot_id == boot_id})

    @property
    def held(self) -> tuple[HeldInstance, ...]:
        return tuple(self._held.values())

    @property
    def names(self) -> Collection[InstanceName]:
        return self._held.keys()

    def desire(self, stored: Mapping[InstanceName, InstanceSpec]) -> Desire:
        """What the supervisor shall make so: the stored set and what is held."""
        wanted = {**{held.name: held.spec for held in self._held.values() if held.spec}, **stored}
        return Desire(tuple(wanted[name] for name in sorted(wanted)), tuple(sorted(self._held)))

    def judged(
        self,
        stops: Mapping[InstanceName, InstanceSpec | None],
        wanted: Collection[InstanceName],
        running: Collection[InstanceName],
        now: float,
    ) -> tuple[HeldInstance, ...]:
        """What is held when these are removed and those are wanted; with what waits already counted in."""
        still = tuple(held for held in self._held.values() if held.name not in wanted)
        fresh = {name: spec for name, spec in stops.items() if name in running and name not in self._held}
        waiting = {held.name for held in still} & set(running)
        if len(fresh) + len(waiting) <= max(ALLOWED_AT_LEAST, ALLOWED_SHARE * len(running)):
            return still
        until = now + self.hold
        return (*still, *(HeldInstance(name, until, self.boot_id, fresh[name]) for name in sorted(fresh)))

    @staticmethod
    def without(held: Iterable[HeldInstance], allowed: Collection[AllowedRemoval]) -> tuple[HeldInstance, ...]:
        """What stays held when these are let through: each counts only for the very spec that it names."""
        return tuple(one for one in held if AllowedRemoval(one.name, _spec_revision(one)) not in allowed)

    def remaining(self, now: float) -> tuple[HeldInstance, ...]:
        """Without what waited long enough."""
        return tuple(held for held in self._held.values() if now < held.until)

    def keep(self, held: Iterable[HeldInstance]) -> None:
        self._held = {one.name: one for one in held}

    def next_event(self) -> float | None:
        return min((held.until for held in self._held.values()), default=None)

    def problems(self) -> tuple[ResourceProblem, ...]:
        """Told with every acknowledgement while they last."""
        return tuple(_problem(self._held[name], self.hold) for name in sorted(self._held))


def _problem(held: HeldInstance, hold: float) -> ResourceProblem:
    text = f"{held.name} was removed together with a large part of what runs here, so it stops only after {hold:.0f} s."
    remedy = "Declare it again to keep it, or let an operator allow its removal to stop it at once."
    problem = Problem("REMOVAL_GUARD", text, remedy, {"instance": held.name})
    return ResourceProblem(held.name, held.spec.generation if held.spec else 0, problem, _spec_revision(held))


def _spec_revision(held: HeldInstance) -> int:
    return held.spec.revision if held.spec else 0
