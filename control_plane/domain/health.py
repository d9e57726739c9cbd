"""How well a runtime does, as one letter, and what last went wrong."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from control_plane.domain.instance import Instance, InstanceState
from control_plane.domain.view import RuntimeView

GOOD_LATENCY = timedelta(seconds=1)
"""A probe of a ready engine that takes longer costs the best grade."""


class Grade(StrEnum):
    """A best, F worst."""

    A = "A"
    B = "B"
    C = "C"
    D = "D"
    F = "F"


def grade(view: RuntimeView) -> Grade:
    match view.state:
        case InstanceState.READY:
            return Grade.A if view.instance and _calm(view.instance) else Grade.B
        case InstanceState.DEGRADED:
            return Grade.C
        case InstanceState.ERROR | InstanceState.OFFLINE:
            return Grade.F
        case (
            InstanceState.UNKNOWN
            | InstanceState.PENDING
            | InstanceState.STARTING
            | InstanceState.RESTARTING
            | InstanceState.STOPPING
            | InstanceState.HIBERNATED
        ):
            return Grade.D


def last_error(instance: Instance) -> str:
    if instance.problem:
        return instance.problem.text
    end = instance.last_exit
    if end is None:
        return ""
    if end.oom_killed:
        return "Killed for lack of memory"
    if end.signal is not None:
        return f"Ended by signal {end.signal}"
    return f"Exited with code {end.exit_code}" if end.exit_code else ""


def _calm(instance: Instance) -> bool:
    latency = instance.health.probe_latency if instance.health else None
    used = instance.restart_budget.used if instance.restart_budget else 0
    return used == 0 and (latency is None or latency <= GOOD_LATENCY)
