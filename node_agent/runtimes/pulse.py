"""How an engine that serves answers: asked from time to time, and whenever somebody wants to know now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from node_agent.domain.spec import InstanceSpec
from node_agent.runtimes.events import Probed
from node_agent.runtimes.kinds.adapter import Adapter, Gauges, Readiness


class Pulse:
    def __init__(
        self,
        adapter: Adapter,
        spec: InstanceSpec,
        port: int,
        key: Callable[[], str],
        patience: timedelta,
        *,
        unwell: Callable[[], bool] = lambda: False,
    ) -> None:
        """`unwell`: something else than the engine says that it is."""
        self._adapter = adapter
        self._spec = spec
        self._port = port
        self._key = key
        self._patience = patience
        self._unwell = unwell
        self._misses = 0

    async def probe(self) -> Probed:
        """One of those that are made from time to time; what they miss in a row leads to a restart."""
        found = await self._asked()
        self._misses = found.misses
        return found

    async def look(self) -> Probed:
        """For somebody who wants to know now. A miss is told and not counted: asking often restarts nothing."""
        found = await self._asked()
        if not found.misses:
            self._misses = 0
        return found

    async def latency(self) -> timedelta | None:
        """None: it is not well, or did not answer in time."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await self._adapter.readiness(self._spec, self._port, self._key(), self._patience)
        well = answer is Readiness.READY and not self._unwell()
        return timedelta(seconds=loop.time() - began) if well else None

    async def _asked(self) -> Probed:
        latency = await self.latency()
        if latency is None:
            return Probed(None, self._misses + 1, Gauges())
        return Probed(latency, 0, await self._adapter.gauges(self._spec, self._port, self._key(), self._patience))
