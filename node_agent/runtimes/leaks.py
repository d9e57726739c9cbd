"""Sees that devices get their memory back from engines that ended; one that does not is used no more until it does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

import structlog

from node_agent.domain.device_memory import Grip, Leaks, grips, kept, leak, returned
from node_agent.domain.inventory import Accelerator, DeviceHealth, Inventory, NodeUsage
from node_agent.domain.spec import InstanceName
from node_agent.domain.status import Problem

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LeakTimers:
    patience: timedelta = timedelta(seconds=30)
    """From the end of an engine until its memory must be back: drivers tell a few seconds late."""
    look: timedelta = timedelta(seconds=2)


SECOND_LONG = LeakTimers(timedelta(seconds=3), timedelta(milliseconds=200))


class Hardware(Protocol):
    """The machine as last looked at."""

    async def inventory(self) -> Inventory: ...

    def usage(self) -> NodeUsage | None: ...

    def on_change(self, listener: Callable[[Inventory], None]) -> None: ...


@dataclass(frozen=True, slots=True)
class _Awaited:
    instance: InstanceName
    device: str
    grip: Grip
    until: float
    """Loop time."""


class LeakWatch:
    """Implements DeviceMemory, and shows the machine with its leaking devices. Without figures nothing is claimed."""

    def __init__(self, hardware: Hardware, timers: LeakTimers) -> None:
        self._hardware = hardware
        self._timers = timers
        self._held: dict[InstanceName, dict[str, Grip]] = {}
        self._awaited: list[_Awaited] = []
        self._leaks: dict[str, Problem] = {}
        self._last: Inventory | None = None
        self._ended = asyncio.Event()
        self._listeners: list[Callable[[Inventory], None]] = []
        hardware.on_change(self._changed)

    def look(self, instance: InstanceName, belongs: Callable[[int], bool]) -> None:
        if found := grips(self._hardware.usage(), belongs):
            self._held[instance] = found

    def ended(self, instance: InstanceName) -> None:
        until = asyncio.get_running_loop().time() + self._timers.patience.total_seconds()
        held = self._held.pop(instance, {})
        self._awaited += [_Awaited(instance, device, grip, until) for device, grip in held.items()]
        self._ended.set()

    def held(self, instance: InstanceName) -> int | None:
        grips = self._held.get(instance)
        return sum(grip.held_bytes for grip in grips.values()) if grips else None

    def leaks(self) -> Leaks:
        return self._leaks

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if not self._awaited:
                self._ended.clear()
                await self._ended.wait()
            await asyncio.sleep(self._timers.look.total_seconds())
            self._judge()

    async def inventory(self) -> Inventory:
        self._last = await self._hardware.inventory()
        return self._marked(self._last)

    async def devices(self) -> Sequence[Accelerator]:
        """All of this machine, the processor too."""
        return (await self.inventory()).accelerators

    def usage(self) -> NodeUsage | None:
        return self._hardware.usage()

    def on_change(self, listener: Callable[[Inventory], None]) -> None:
        self._listeners.append(listener)

    def _judge(self) -> None:
        now, usage = asyncio.get_running_loop().time(), self._hardware.usage()
        found: dict[str, Problem] = {}
        awaited, self._awaited = self._awaited, []
        for each in awaited:
            left = kept(each.grip, usage, each.device)
            if left is not None and returned(each.grip, left):
                continue
            known = each.device in self._leaks
            if left is None and not known and now >= each.until:
                continue
            self._awaited.append(each)
            if left is not None and now >= each.until:
                found[each.device] = leak(left, each.instance)
            elif left is None and known:
                found[each.device] = self._leaks[each.device]
        self._take(found)

    def _take(self, found: dict[str, Problem]) -> None:
        if found.keys() == self._leaks.keys():
            return
        for device in found.keys() - self._leaks.keys():
            log.warning("device_memory_leaks", device=device, text=found[device].text)
        for device in self._leaks.keys() - found.keys():
            log.info("device_memory_returned", device=device)
        self._leaks = found
        if self._last is not None:
            self._tell(self._last)

    def _changed(self, inventory: Inventory) -> None:
        self._last = inventory
        self._tell(inventory)

    def _tell(self, inventory: Inventory) -> None:
        for listener in self._listeners:
            listener(self._marked(inventory))

    def _marked(self, inventory: Inventory) -> Inventory:
        return replace(inventory, accelerators=tuple(map(self._mark, inventory.accelerators)))

    def _mark(self, device: Accelerator) -> Accelerator:
        problem = self._leaks.get(device.id)
        return device if problem is None else replace(device, health=DeviceHealth.UNUSABLE, problem=problem)
