"""Instances that must not outlive a cut from the control plane: a claim on them says for how long they may."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from node_agent.domain.limits import Denial
from node_agent.domain.spec import DesiredState, InstanceName, InstanceSpec
from node_agent.domain.status import Problem


def bounds(desired: Iterable[InstanceSpec]) -> Iterator[tuple[InstanceSpec, timedelta]]:
    """Whatever is to run and may not run for ever without contact, and how long it may: the shortest of its holds."""
    for spec in desired:
        given = [hold.stop_after for hold in spec.holds if hold.stop_after is not None]
        if given and spec.desired_state is DesiredState.RUNNING:
            yield spec, min(given)


def outlived(desired: Iterable[InstanceSpec], silence: timedelta | None, now: datetime) -> dict[InstanceName, Denial]:
    """What is to be stopped until there is contact again. `silence`: since the last contact; None: there is contact."""
    if silence is None:
        return {}
    return {spec.name: Denial(_cut_off(within), now) for spec, within in bounds(desired) if silence >= within}


def next_stop(desired: Iterable[InstanceSpec], silence: timedelta | None) -> timedelta | None:
    """How long until the next is to be stopped; None: nothing is."""
    if silence is None:
        return None
    return min((within - silence for _, within in bounds(desired) if within > silence), default=None)


def _cut_off(within: timedelta) -> Problem:
    text = f"A claim on it lets it run for {within.total_seconds():g} s without contact with the control plane."
    return Problem("NODE_OFFLINE", text, "It starts again once this node reaches the control plane.")
