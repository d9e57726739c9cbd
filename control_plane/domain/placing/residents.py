"""Runtimes that need not always be in memory: how they stand, leave it and come back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from control_plane.domain.instance import Instance, InstanceState
from control_plane.domain.problem import Problem
from control_plane.domain.residence import Sleep, SleepCause
from control_plane.domain.runtime import DesiredState, Runtime

_GONE = (InstanceState.OFFLINE, InstanceState.HIBERNATED, InstanceState.ERROR, InstanceState.UNKNOWN)
"""Of what is to be down: it takes no memory, or nobody can tell."""


@dataclass(frozen=True, slots=True)
class Resident:
    """A runtime with a place, and what its node says of it."""

    runtime: Runtime
    instance: Instance | None

    @property
    def wanted(self) -> bool:
        return self.runtime.desired_state is DesiredState.RUNNING

    @property
    def leaves(self) -> bool:
        """It is to be down, and takes memory yet."""
        told = self.instance
        return not self.wanted and told is not None and (told.process is not None or told.state not in _GONE)

    @property
    def idle_since(self) -> datetime | None:
        """None: it has requests in hand, had one a moment ago, is claimed, not there yet, or its node does not say."""
        told, claimed = self.instance, bool(self.runtime.holds.live)
        return told.idle_since if told is not None and self.wanted and told.state.serves and not claimed else None

    @property
    def may_leave(self) -> bool:
        """To make room, sooner or later: it comes back when it is asked for."""
        residence = self.runtime.spec.residence
        return self.wanted and residence.on_demand and not residence.keep_loaded


def asleep(runtime: Runtime, now: datetime) -> Sleep | None:
    """What a row has to say of its sleep."""
    if runtime.desired_state is not DesiredState.HIBERNATED:
        return None
    return runtime.sleep or Sleep(now, SleepCause.OPERATOR)


def hibernated(runtime: Runtime, cause: SleepCause, now: datetime) -> Runtime:
    return replace(runtime, desired_state=DesiredState.HIBERNATED, sleep=Sleep(now, cause))


def asked_for(runtime: Runtime, now: datetime) -> Runtime:
    """Asked for again, it still waits since the first time. What is not hibernated stays as it is."""
    sleep = runtime.sleep
    if sleep is None or sleep.wake is not None:
        return runtime
    return replace(runtime, sleep=replace(sleep, wake=now, problem=None))


def woken(runtime: Runtime) -> Runtime:
    return replace(runtime, desired_state=DesiredState.RUNNING, sleep=None)


def not_woken(runtime: Runtime, why: Problem, now: datetime) -> Runtime:
    assert runtime.sleep is not None  # noqa: S101 - only what sleeps is asked for
    return replace(runtime, sleep=replace(runtime.sleep, wake=None, problem=why, failed=now))


def waits_for(runtime: Runtime, why: Problem) -> Runtime:
    assert runtime.sleep is not None  # noqa: S101 - as above
    return replace(runtime, sleep=replace(runtime.sleep, problem=why))


def unloads_at(resident: Resident) -> datetime | None:
    """When it is hibernated for want of requests; None: not for now."""
    after, since = resident.runtime.spec.residence.idle_unload, resident.idle_since
    return None if after is None or since is None else since + after
