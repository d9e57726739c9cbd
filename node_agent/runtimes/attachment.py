"""Looks after something that runs already: it is asked how it is, and never started, stopped or signalled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from node_agent.domain.errors import SpecInvalid
from node_agent.domain.spec import ExternalSettings, InstanceSpec
from node_agent.domain.status import Problem
from node_agent.runtimes import checks, verdict
from node_agent.runtimes.attachable import address_of
from node_agent.runtimes.equipment import Equipment
from node_agent.runtimes.events import Look, Probed
from node_agent.runtimes.kinds.adapter import InUse
from node_agent.runtimes.pulse import Pulse
from wire.refusal import Refusal


@dataclass(frozen=True, slots=True)
class Attached:
    """It answers."""

    host: str
    port: int
    key: str
    in_use: InUse
    look: Look


@dataclass(frozen=True, slots=True)
class Apart:
    """It does not answer, or not as it should. It is asked again and again."""

    problem: Problem


class Attachment:
    def __init__(
        self, equipment: Equipment, spec: InstanceSpec, tell: Callable[[Attached | Apart | Probed], None]
    ) -> None:
        self._equipment = equipment
        self._timers = equipment.timers
        self._spec = spec
        self._tell = tell
        self._adapter = checks.adapter_of(spec, equipment)

    async def run(self) -> NoReturn:
        """Until cancelled. A Refusal says why it must not even be asked."""
        await asyncio.to_thread(checks.quick, self._spec, self._equipment)
        external = self._external()
        host, port = address_of(external.url)
        key = await asyncio.to_thread(self._equipment.attachable.key, external.url)
        while True:
            pulse = Pulse(self._adapter, self._spec, port, lambda: key, self._timers.probe_timeout)
            try:
                in_use = await self._first_answer(pulse, port, key)
            except Refusal as refusal:
                self._tell(Apart(Problem.of(refusal)))
            else:
                self._tell(Attached(host, port, key, in_use, pulse.look))
                await self._while_it_answers(pulse)
            await asyncio.sleep(self._timers.probe_period.total_seconds())

    def _external(self) -> ExternalSettings:
        if self._spec.external is None:
            raise SpecInvalid(f"{self._spec.runtime_id} does not say what to attach to.", "Set external.url.")
        return self._spec.external

    async def _first_answer(self, pulse: Pulse, port: int, key: str) -> InUse:
        while await pulse.latency() is None:
            self._tell(Apart(verdict.unanswered(self._external().url)))
            await asyncio.sleep(self._timers.probe_period.total_seconds())
        patience = self._timers.probe_timeout
        await self._adapter.prove(self._spec, port, key, patience)
        return await self._adapter.in_use(self._spec, port, key, patience, ())

    async def _while_it_answers(self, pulse: Pulse) -> None:
        misses = 0
        while misses < self._timers.probe_misses:
            await asyncio.sleep(self._timers.probe_period.total_seconds())
            found = await pulse.probe()
            misses = found.misses
            self._tell(found)
        self._tell(Apart(verdict.unanswered(self._external().url)))
