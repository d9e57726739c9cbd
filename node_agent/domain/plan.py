"""The supervisor's one decision: what is wanted and what is, in; what to do next, out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from node_agent.domain.budget import Budget
from node_agent.domain.limits import Denial
from node_agent.domain.observed import Observed, Phase, in_force, launch_key
from node_agent.domain.spec import DesiredState, InstanceName, InstanceSpec
from node_agent.domain.step import (
    Abandon,
    Acknowledge,
    Adopt,
    Cause,
    Deny,
    Fail,
    Forget,
    Reclaim,
    ResetBudget,
    Restart,
    Retry,
    Start,
    Step,
    Stop,
    Switch,
)

TROUBLED = (Phase.EXITED, Phase.WAITING, Phase.FAILED)


def plan(
    desired: Sequence[InstanceSpec],
    observed: Sequence[Observed],
    now: datetime,
    denied: Mapping[InstanceName, Denial] = MappingProxyType({}),
) -> list[Step]:
    """Steps by instance, in order. Carried out, they lead to a plan without steps, unless something ends by itself.

    `denied`: what the node's owner does not let run now, of what is wanted.
    """
    wanted = {spec.name: spec for spec in desired}
    seen = {instance.name: instance for instance in observed}
    steps: list[Step] = []
    for name in sorted(wanted.keys() | seen.keys()):
        instance = seen.get(name, Observed(name))
        found = _steps(wanted.get(name), instance, now)
        steps += _within(denied[name], found, instance, now) if name in denied else found
    return steps


def _within(denial: Denial, steps: Iterator[Step], instance: Observed, now: datetime) -> Iterator[Step]:
    """What is left of steps that were made without regard to the owner."""
    for step in steps:
        match step:
            case Start():
                if instance.denied != denial.problem:
                    yield Deny(instance.name, denial.problem)
            case Restart():
                continue
            case _:
                yield step
    if instance.phase is Phase.UP and denial.stop_at is not None and now >= denial.stop_at:
        yield Reclaim(instance.name, denial.problem)


def _steps(spec: InstanceSpec | None, instance: Observed, now: datetime) -> Iterator[Step]:
    if instance.phase is Phase.BUSY:
        return
    if instance.phase is Phase.FOUND:
        yield Adopt(instance.name)
    elif spec is None:
        yield Stop(instance.name) if instance.phase is Phase.UP else Forget(instance.name)
    elif spec.restore.serial > instance.restore_serial:
        yield from _restored(spec, instance, now)
    elif spec.restore.serial < instance.restore_serial:
        # Deleted and declared anew under the same name: its restores count from the start again.
        yield Acknowledge(instance.name, spec.restore.serial)
    elif spec.desired_state is DesiredState.STOPPED:
        yield from [] if instance.phase is Phase.DOWN else [Stop(instance.name)]
    else:
        yield from _running(in_force(spec, instance.good, instance.refused), instance, now)


def _restored(spec: InstanceSpec, instance: Observed, now: datetime) -> Iterator[Step]:
    """An operator's order is acted on before it counts as done: an agent killed in between does it again.

    What it leaves undone is ordinary reconciling.
    """
    budget = Budget() if spec.restore.reset_budget else instance.budget
    if spec.restore.reset_budget:
        yield ResetBudget(instance.name)
    if spec.desired_state is DesiredState.RUNNING:
        yield from _restarted(spec, instance, budget, now)
    yield Acknowledge(instance.name, spec.restore.serial)


def _restarted(spec: InstanceSpec, instance: Observed, budget: Budget, now: datetime) -> Iterator[Step]:
    if instance.phase is Phase.UP:
        if spec.restore.restart or launch_key(spec) not in (instance.launch_key, instance.successor):
            yield Restart(spec, Cause.RESTORED)
    elif instance.phase not in TROUBLED or not budget.exhausted(spec.restart, now):
        yield Start(spec, Cause.RESTORED)


def _running(spec: InstanceSpec, instance: Observed, now: datetime) -> Iterator[Step]:
    changed = instance.launch_key not in ("", launch_key(spec))
    due = instance.retry_at is None or now >= instance.retry_at
    if instance.successor:
        yield from _succeeded(spec, instance)
        return
    match instance.phase:
        case Phase.UP:
            # Whether it serves decides how it is replaced.
            if changed and not instance.unsure:
                yield Restart(spec, Cause.CHANGED)
        case Phase.DOWN | Phase.DENIED:
            yield Start(spec, Cause.DESIRED)
        case Phase.EXITED | Phase.WAITING | Phase.BLOCKED | Phase.FAILED if changed:
            yield Start(spec, Cause.CHANGED)
        case Phase.BLOCKED if due:
            yield Start(spec, Cause.DESIRED)
        case Phase.WAITING if due:
            yield Start(spec, Cause.AUTOMATIC)
        case Phase.EXITED:
            yield _after_exit(spec, instance, now)
        case _:
            return


def _succeeded(spec: InstanceSpec, instance: Observed) -> Iterator[Step]:
    """While something starts beside it, or in its place, should it have ended meanwhile."""
    if launch_key(spec) != instance.successor:
        yield Abandon(instance.name)
    elif instance.successor_ready:
        yield Switch(instance.name)


def _after_exit(spec: InstanceSpec, instance: Observed, now: datetime) -> Step:
    may_restart = spec.auto_start or spec.restore.serial > 0
    if instance.hopeless or not may_restart:
        return Fail(instance.name, exhausted=False)
    if instance.budget.exhausted(spec.restart, now):
        return Fail(instance.name, exhausted=True)
    return Retry(instance.name)
