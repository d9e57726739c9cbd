"""What trusted engines can use of this machine, in their own words: less, at times, than what the system sees."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import structlog

from node_agent.domain.errors import EngineNotFound
from node_agent.domain.inventory import CPU, Engine, EngineDevice, Inventory
from node_agent.runtimes.kinds.adapter import Adapter
from node_agent.use_cases.hardware_view import HardwareView
from node_agent.use_cases.ports import Hardware

log = structlog.get_logger()

Sights = Mapping[Engine, tuple[EngineDevice, ...] | None]


class EngineSight(HardwareView):
    """Asks each engine again when devices or trusted engines changed; where there is but a processor, none is asked."""

    def __init__(self, hardware: Hardware, adapters: Mapping[str, Adapter]) -> None:
        super().__init__(hardware)
        self._adapters = adapters
        self._sights: Sights = {}
        self._bell = asyncio.Event()
        hardware.on_change(lambda _: self._bell.set())

    async def run(self) -> None:
        """Until cancelled."""
        told: tuple[object, ...] = ()
        while True:
            await self._bell.wait()
            self._bell.clear()
            seen = _seen(await self._hardware.inventory())
            if seen != told:
                told = seen
                await self._ask(seen)

    async def _ask(self, seen: tuple[tuple[object, ...], tuple[Engine, ...]]) -> None:
        devices, engines = seen
        self._sights = {engine: await self._sight(engine) for engine in engines} if devices else {}
        self.tell()

    async def _sight(self, engine: Engine) -> tuple[EngineDevice, ...] | None:
        """Of an image nothing is known before its devices are passed to it."""
        adapter = self._adapters.get(engine.adapter)
        if adapter is None or engine.image:
            return None
        try:
            found = await adapter.devices(engine)
        except EngineNotFound as refusal:
            log.warning("engine_devices_unknown", engine=engine.command[0], why=refusal.text)
            return None
        if found is not None:
            log.info("engine_devices", engine=engine.command[0], devices=[device.name for device in found])
        return found

    def _shown(self, inventory: Inventory) -> Inventory:
        return replace(inventory, engines=tuple(map(self._seeing, inventory.engines)))

    def _seeing(self, engine: Engine) -> Engine:
        return replace(engine, devices=self._sights.get(engine))


def _seen(inventory: Inventory) -> tuple[tuple[object, ...], tuple[Engine, ...]]:
    real = [device for device in inventory.accelerators if device.kind != CPU and not device.simulated]
    return tuple((device.id, device.kind, device.health) for device in real), inventory.engines
