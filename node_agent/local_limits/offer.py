"""What this machine offers, once its owner had a say."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from node_agent.domain.device_limits import offered
from node_agent.domain.inventory import Inventory, LocalLimits, NodeUsage
from node_agent.domain.limits import Limits, closed
from node_agent.domain.sandbox import SandboxLayer
from node_agent.local_limits.watch import LimitsFile


class Hardware(Protocol):
    """The machine as last looked at."""

    async def inventory(self) -> Inventory: ...

    def usage(self) -> NodeUsage | None: ...

    def on_change(self, listener: Callable[[Inventory], None]) -> None: ...


class LimitedHardware:
    """Implements the link's InventorySource."""

    def __init__(
        self,
        hardware: Hardware,
        file: LimitsFile,
        node: str,
        adapters: Collection[str],
        now: Callable[[], datetime],
        *,
        sandbox: Callable[[Limits], tuple[SandboxLayer, ...]],
    ) -> None:
        """`sandbox`: the layers that the next engine gets within these limits."""
        self._hardware = hardware
        self._file = file
        self._node = node
        self._adapters = sorted(adapters)
        self._now = now
        self._sandbox = sandbox
        self._last: Inventory | None = None
        self._listeners: list[Callable[[Inventory], None]] = []
        hardware.on_change(self._changed)
        file.on_change(self._tell)

    async def inventory(self) -> Inventory:
        self._last = await self._hardware.inventory()
        return self._limited(self._last)

    def usage(self) -> NodeUsage | None:
        return self._hardware.usage()

    def on_change(self, listener: Callable[[Inventory], None]) -> None:
        self._listeners.append(listener)

    def _changed(self, inventory: Inventory) -> None:
        self._last = inventory
        self._tell()

    def _tell(self) -> None:
        if self._last is None:
            return
        now = self._limited(self._last)
        for listener in self._listeners:
            listener(now)

    def _limited(self, inventory: Inventory) -> Inventory:
        limits = self._file.limits()
        devices = tuple(offered(limits, device) for device in inventory.accelerators)
        return replace(inventory, accelerators=devices, limits=self._said(limits), sandbox=self._sandbox(limits))

    def _said(self, limits: Limits) -> LocalLimits:
        return LocalLimits(
            file=limits.file,
            denied_adapters=tuple(name for name in self._adapters if limits.adapters.refusing(name)),
            modes=tuple(sorted(limits.modes)),
            max_runtimes=limits.max_runtimes,
            memory_bytes=limits.memory_bytes,
            memory_per_runtime_bytes=limits.memory_per_runtime_bytes,
            closed=closed(limits, f"nodes/{self._node}", self._now()),
        )
