"""What a report changed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.instance import Instance, InstanceState

_LAUNCHING = (InstanceState.PENDING, InstanceState.STARTING, InstanceState.RESTARTING)


@dataclass(frozen=True, slots=True)
class Transition:
    before: Instance | None
    """None: it was not known."""
    after: Instance
    resync: bool = False
    """From a full report: what it says may have happened long ago."""

    @property
    def is_real(self) -> bool:
        """Something that a person would tell another; figures of probes are not."""
        return self.before is None or _told(self.before) != _told(self.after)

    @property
    def is_launch_end(self) -> bool:
        """A launch ended well or badly, just now."""
        if self.resync and self.before is None:
            return False
        launching = self.before is None or self.before.state in _LAUNCHING or self._new_process
        ended = self.after.state.serves or self.after.state is InstanceState.ERROR
        return launching and ended and (self.before is None or self.before.state is not self.after.state)

    @property
    def launch_error(self) -> str:
        """Empty when it serves."""
        if self.after.state.serves:
            return ""
        return self.after.problem.text if self.after.problem else self.after.summary or "The engine did not start"

    @property
    def is_degradation(self) -> bool:
        was = self.before.state if self.before else None
        return self.after.state is InstanceState.DEGRADED and was is not InstanceState.DEGRADED

    @property
    def previous_accelerator(self) -> AcceleratorKind | None:
        """What it used last; None: not known."""
        return _last_used(self.before)

    def switches_from(self, wanted: AcceleratorKind) -> bool:
        """Runs on another device than `wanted`: the one used before, else the one asked for."""
        if self.resync and self.before is None:
            return False
        return AcceleratorKind.UNSPECIFIED not in (wanted, self.after.accelerator) and self.after.accelerator != wanted

    @property
    def _new_process(self) -> bool:
        return self.before is not None and self.after.incarnation > self.before.incarnation


def with_history(before: Instance | None, reported: Instance) -> Instance:
    """An instance that starts says nothing of its device yet: what it ran on before is remembered until it does."""
    known = _last_used(before)
    if known is None or reported.accelerator is not AcceleratorKind.UNSPECIFIED:
        return reported
    return replace(reported, ran_on=known)


def _last_used(instance: Instance | None) -> AcceleratorKind | None:
    known = (instance.accelerator, instance.ran_on) if instance else ()
    return next((kind for kind in known if kind is not AcceleratorKind.UNSPECIFIED), None)


def _told(instance: Instance) -> tuple[object, ...]:
    budget = instance.restart_budget
    return (
        instance.state,
        instance.severity,
        instance.summary,
        instance.detail,
        instance.problem,
        instance.incarnation,
        instance.observed_generation,
        instance.accelerator,
        (budget.used, budget.max_restarts) if budget else None,
    )
