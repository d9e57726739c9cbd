"""Whether there is room for two launches of an instance at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from node_agent.domain.beside import Free, Pair, hindrance
from node_agent.domain.footprint import Footprint, FootprintKey, given
from node_agent.domain.inventory import CPU
from node_agent.domain.spec import InstanceSpec
from node_agent.runtimes import checks
from node_agent.runtimes.equipment import Equipment
from node_agent.runtimes.modes import Chosen
from node_agent.runtimes.standing import Standing
from wire.engine_options import options_digest
from wire.refusal import Refusal


class Room:
    def __init__(self, equipment: Equipment, standing: Standing, wanted: Callable[[], Sequence[InstanceSpec]]) -> None:
        """`wanted`: whatever is to run on this node."""
        self._equipment = equipment
        self._standing = standing
        self._wanted = wanted

    async def hindrance(self, new: InstanceSpec) -> str:
        """Why what runs must be stopped before `new` is launched; empty: it need not be."""
        good, record = self._standing.good, self._standing.berth.launch()
        serves = self._standing.report.status.state.serves
        if not serves or record is None:
            return "it did not serve"
        if good is None:
            return "it is not known what it was started with"
        adapter = self._equipment.adapters.get(new.adapter)
        if adapter is not None and not adapter.traits.managed:
            return "what takes its place is not started from here"
        chosen = await self._chosen(new)
        kind = new.accelerator or self._standing.report.status.accelerator or CPU
        pair = Pair(
            good,
            new,
            frozenset({record.mode, chosen.mode} if chosen is not None else {record.mode}),
            serves,
            kind != CPU,
            await self._known(new, chosen, kind),
        )
        others = [spec for spec in self._wanted() if spec.name != new.name]
        return hindrance(pair, self._equipment.limits(), others, await self._free(kind))

    async def _chosen(self, new: InstanceSpec) -> Chosen | None:
        """None: it cannot be launched at all, as its launch will say while the other one serves on."""
        try:
            return await asyncio.to_thread(checks.chosen, new, self._equipment)
        except Refusal:
            return None

    async def _known(self, new: InstanceSpec, chosen: Chosen | None, kind: str) -> Footprint | None:
        if chosen is None or not chosen.engine.digests:
            return None
        key = FootprintKey(new.model.sha256, chosen.engine.digests[0][1], options_digest(given(new.settings)), kind)
        return await asyncio.to_thread(self._equipment.footprints.of, key)

    async def _free(self, kind: str) -> Free:
        memory = await asyncio.to_thread(self._equipment.free_memory)
        usage = self._equipment.usage()
        if kind == CPU or usage is None:
            return Free(memory)
        ids = {device.id for device in await self._equipment.devices() if device.kind == kind}
        free = [
            device.memory_total_bytes - device.memory_used_bytes
            for device in usage.accelerators
            if device.id in ids and device.memory_total_bytes is not None and device.memory_used_bytes is not None
        ]
        return Free(memory, max(free, default=None))
