"""Engines that survive SIGKILL. What one holds is given to nobody, and if it lasts, somebody has to come."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import structlog

from node_agent.domain.spec import InstanceName
from node_agent.domain.status import Problem
from node_agent.domain.timers import REAL

log = structlog.get_logger()

UNKILLABLE = "UNKILLABLE"
REMEDY = "Look at the kernel log for the device or the disk that it waits for; a reboot of the node may be needed."


class Survivors:
    """Implements Guard: once one was there for too long, the node says so and takes nothing new."""

    def __init__(
        self, patience: timedelta = REAL.unkillable_alarm, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._patience = patience
        self._clock = clock
        self._since: dict[InstanceName, float] = {}
        self._alarms: dict[InstanceName, Problem] = {}
        self._listeners: list[Callable[[], None]] = []

    def seen(self, instance: InstanceName) -> bool:
        """Whether it is there for too long by now. Call it again and again while it survives."""
        now = self._clock()
        since = self._since.setdefault(instance, now)
        if now - since >= self._patience.total_seconds() and instance not in self._alarms:
            self._alarm(instance)
        return instance in self._alarms

    def gone(self, instance: InstanceName) -> None:
        """It ended after all, or never survived anything."""
        if self._since.pop(instance, None) is not None:
            log.info("engine_no_longer_unkillable", instance=instance)
        if self._alarms.pop(instance, None) is not None:
            self._tell()

    def problem(self) -> Problem | None:
        return next(iter(self._alarms.values()), None)

    def on_change(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    def _alarm(self, instance: InstanceName) -> None:
        text = f"An engine survives SIGKILL for {self._patience.total_seconds():g} s: {instance}."
        self._alarms[instance] = Problem(UNKILLABLE, text, REMEDY, {"instance": instance})
        log.error("engine_unkillable", instance=instance, text=text, remedy=REMEDY)
        self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()


def unkillable() -> Problem:
    text = "The engine survives SIGKILL: it waits in the kernel, most likely for a device or a disk."
    return Problem(UNKILLABLE, text, REMEDY)
