"""What is loaded on demand: whether a request waits for it, and asking for it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from datetime import datetime, timedelta
from time import monotonic

import structlog

from control_plane.domain.ids import RuntimeId
from control_plane.domain.instance import InstanceState
from control_plane.domain.problem import Problem
from control_plane.domain.residence import Sleep
from control_plane.domain.runtime import DesiredState, Runtime
from control_plane.domain.view import RuntimeView
from control_plane.use_cases.mirror import Changed, Mirror
from control_plane.use_cases.ports import Fleet
from control_plane.use_cases.wake_runtime import WakeRuntime
from gateway.refusals import GatewayRefusal, Loading, NoRoom, NotServing
from wire.refusal import Refusal

REST = timedelta(seconds=5)
"""After one did not wake, requests are told why for so long; the next one after that asks again."""
_USUAL_SECONDS = 5
_NEVER = (InstanceState.ERROR, InstanceState.UNKNOWN)
"""Of what is to run: a person has to come, or its node."""
_log = structlog.get_logger()


class Waking:
    """`wake` None: nobody is asked for."""

    def __init__(self, mirror: Mirror, fleet: Fleet, wake: WakeRuntime | None = None) -> None:
        self._runtimes = mirror.runtimes
        self._fleet = fleet
        self._wake = wake
        self._due: set[RuntimeId] = set()
        self._bell = asyncio.Event()
        self._failed: dict[RuntimeId, tuple[datetime, float]] = {}
        """By whoever tried to wake it, and when this replica heard: clocks differ."""
        self._loads: dict[RuntimeId, timedelta] = {}
        """How long it took to load."""
        mirror.on_change(self._heard)

    def refusal(self, views: Iterable[RuntimeView]) -> GatewayRefusal | None:
        """Loading when one of these will serve shortly, if it is asked for; else why it did not wake.

        None: they are loaded on no demand, or something else keeps them from serving.
        """
        found = [refusal for view in views if (refusal := self._of(view)) is not None]
        return next((refusal for refusal in found if isinstance(refusal, Loading)), found[0] if found else None)

    def wake(self, runtime: RuntimeId) -> None:
        """Costs nothing when it was asked for already."""
        row = self._runtimes.get(runtime)
        if row is not None and row.sleep is not None and row.sleep.wake is None:
            self._due.add(runtime)
            self._bell.set()

    async def run(self) -> None:
        """Ask for what is due until cancelled. Whoever waits names it again when that fails."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            await self.ask()

    async def ask(self) -> None:
        """For what is due."""
        due, self._due = self._due, set()
        for runtime in sorted(due):
            await self._ask(runtime)

    async def _ask(self, runtime: RuntimeId) -> None:
        try:
            if self._wake is not None:
                await self._wake.for_request(runtime)
        except Refusal as refusal:
            _log.warning("wake_not_asked", runtime=runtime, text=refusal.text)

    def _heard(self, changed: Changed) -> None:
        for runtime in changed.runtimes:
            row = self._runtimes.get(runtime)
            failed = row.sleep.failed if row is not None and row.sleep is not None else None
            if failed is None:
                self._failed.pop(runtime, None)
            elif runtime not in self._failed or self._failed[runtime][0] != failed:
                self._failed[runtime] = failed, monotonic()

    def _of(self, view: RuntimeView) -> GatewayRefusal | None:
        runtime = view.runtime
        if not runtime.spec.residence.on_demand or runtime.desired_state is DesiredState.STOPPED:
            return None
        self._learn(view)
        if runtime.sleep is not None:
            return self._asleep(runtime, runtime.sleep)
        return self._loading(runtime, f"{runtime.id} is loading.") if self._comes(view) else None

    def _comes(self, view: RuntimeView) -> bool:
        """It is to run, and has a place where it can."""
        node, instance = view.runtime.node, view.instance
        if node is None or instance is None or not self._fleet.liveness(node).online:
            return node is None and view.runtime.placement_problem is None
        return instance.state not in _NEVER and (instance.state is not InstanceState.OFFLINE or not instance.problem)

    def _asleep(self, runtime: Runtime, sleep: Sleep) -> GatewayRefusal:
        if sleep.wake is None and sleep.problem is not None and self._rests(runtime.id):
            return _why(sleep.problem)
        waits = sleep.problem.text if sleep.wake is not None and sleep.problem is not None else ""
        return self._loading(runtime, f"{runtime.id} wakes. {waits}".strip())

    def _rests(self, runtime: RuntimeId) -> bool:
        return runtime in self._failed and monotonic() - self._failed[runtime][1] < REST.total_seconds()

    def _loading(self, runtime: Runtime, text: str) -> Loading:
        usual = self._loads.get(runtime.id)
        seconds = math.ceil(usual.total_seconds()) if usual is not None else _USUAL_SECONDS
        return Loading(text, "Send the request again.", runtime=runtime.id, retry_after=max(1, seconds))

    def _learn(self, view: RuntimeView) -> None:
        footprint = view.instance.footprint if view.instance is not None else None
        if footprint is not None and footprint.load_time is not None:
            self._loads[view.runtime.id] = footprint.load_time


def _why(problem: Problem) -> GatewayRefusal:
    kind = NoRoom if problem.reason == NoRoom.reason else NotServing
    return kind(problem.text, problem.remedy, retry_after=math.ceil(REST.total_seconds()))
