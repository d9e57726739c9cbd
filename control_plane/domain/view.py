"""A runtime together with what its node says of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from control_plane.domain.ids import NodeId
from control_plane.domain.instance import Instance, InstanceState, Severity
from control_plane.domain.runtime import DesiredState, Runtime

HIBERNATED = "Hibernated"
_SEVERITY = {
    InstanceState.UNKNOWN: Severity.WARN,
    InstanceState.DEGRADED: Severity.WARN,
    InstanceState.RESTARTING: Severity.WARN,
    InstanceState.ERROR: Severity.ERROR,
}


_WITHOUT_PLACE = {
    DesiredState.RUNNING: InstanceState.PENDING,
    DesiredState.STOPPED: InstanceState.OFFLINE,
    DesiredState.HIBERNATED: InstanceState.HIBERNATED,
}


def worse(one: Severity, other: Severity) -> Severity:
    return max(one, other, key=lambda severity: severity.rank)


def with_severity(instance: Instance) -> Instance:
    """At least as severe as its state; what the node said is never lowered."""
    floor = _SEVERITY.get(instance.state, Severity.INFO)
    return replace(instance, severity=worse(instance.severity, floor))


@dataclass(frozen=True, slots=True)
class RuntimeView:
    runtime: Runtime
    instance: Instance | None
    """None exactly while the runtime has no place."""

    @property
    def title(self) -> str:
        return self.runtime.spec.display_name or self.runtime.id

    @property
    def state(self) -> InstanceState:
        if self.instance:
            return self.instance.state
        return _WITHOUT_PLACE[self.runtime.desired_state]

    @property
    def severity(self) -> Severity:
        if self.instance:
            return self.instance.severity
        return Severity.WARN if self._wanted else Severity.INFO

    @property
    def summary(self) -> str:
        if self.instance:
            return self.instance.summary or f"state set to {self.state.label}"
        problem = self.runtime.placement_problem
        return problem.text if problem else "Waiting for a place"

    @property
    def troubled(self) -> bool:
        """Wanted, and not as wanted."""
        if self.state is InstanceState.OFFLINE:
            return self._wanted
        return self.state in (InstanceState.DEGRADED, InstanceState.RESTARTING, InstanceState.ERROR)

    @property
    def _wanted(self) -> bool:
        return self.runtime.desired_state is DesiredState.RUNNING


def view_of(runtime: Runtime, reported: Instance | None, *, online: bool) -> RuntimeView:
    """`reported` is what the runtime's own node said last, if anything."""
    if runtime.node is None:
        return RuntimeView(runtime, None)
    instance = _asleep(runtime, reported or _unheard(runtime, runtime.node, online))
    return RuntimeView(runtime, with_severity(instance))


def _asleep(runtime: Runtime, instance: Instance) -> Instance:
    """Earlier agents know of no sleep: to them it is stopped."""
    down = instance.state in (InstanceState.OFFLINE, InstanceState.PENDING) and instance.problem is None
    if runtime.desired_state is not DesiredState.HIBERNATED or not down:
        return instance
    return replace(instance, state=InstanceState.HIBERNATED, summary=HIBERNATED)


def _unheard(runtime: Runtime, node: NodeId, online: bool) -> Instance:
    if online:
        return Instance(node, runtime.id, InstanceState.PENDING, summary=f"Sent to node {node}")
    return Instance(node, runtime.id, InstanceState.UNKNOWN, summary=f"Node {node} is not connected")
