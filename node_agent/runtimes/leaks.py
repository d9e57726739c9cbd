"""Sees that devices get their memory back from engines that ended; one that does not is used no more until it does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from node_agent.domain.device_memory import Grip, Leaks, grips, kept, leak, returned, survivor
from node_agent.domain.inventory import Accelerator, DeviceHealth, Inventory
from node_agent.domain.spec import InstanceName
from node_agent.domain.status import Problem
from node_agent.use_cases.hardware_view import HardwareView
from node_agent.use_cases.ports import Hardware

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LeakTimers:
    patience: timedelta = timedelta(seconds=30)
    """From the end of an engine until its memory must be back: drivers tell a few seconds late."""
    look: timedelta = timedelta(seconds=2)


SECOND_LONG = LeakTimers(timedelta(seconds=3), timedelta(milliseconds=200))


@dataclass(frozen=True, slots=True)
class _Awaited:
    instance: InstanceName
    device: str
    grip: Grip
    until: float
    """Loop time."""


class LeakWatch(HardwareView):
    """Implements DeviceMemory, and shows the machine with its leaking devices. Without figures nothing is claimed."""

    def __init__(self, hardware: Hardware, timers: LeakTimers) -> None:
        super().__init__(hardware)
        self._timers = timers
        self._held: dict[InstanceName, dict[str, Grip]] = {}
        self._awaited: list[_Awaited] = []
        self._leaks: dict[str, Problem] = {}
        self._survivors: dict[InstanceName, dict[str, Problem]] = {}
        self._ended = asyncio.Event()

    def look(self, instance: InstanceName, belongs: Callable[[int], bool]) -> None:
        if found := grips(self.usage(), belongs):
            self._held[instance] = found

    def survives(self, instance: InstanceName) -> None:
        held = self._held.get(instance)
        if held and instance not in self._survivors:
            self._survivors[instance] = dict.fromkeys(held, survivor(instance))
            self.tell()

    def ended(self, instance: InstanceName) -> None:
        if self._survivors.pop(instance, None):
            self.tell()
        until = asyncio.get_running_loop().time() + self._timers.patience.total_seconds()
        held = self._held.pop(instance, {})
        self._awaited += [_Awaited(instance, device, grip, until) for device, grip in held.items()]
        self._ended.set()

    def held(self, instance: InstanceName) -> int | None:
        grips = self._held.get(instance)
        return sum(grip.held_bytes for grip in grips.values()) if grips else None

    def leaks(self) -> Leaks:
        found = dict(self._leaks)
        for held in self._survivors.values():
            found |= held
        return found

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if not self._awaited:
                self._ended.clear()
                await self._ended.wait()
            await asyncio.sleep(self._timers.look.total_seconds())
            self._judge()

    async def devices(self) -> Sequence[Accelerator]:
        """All of this machine, the processor too."""
        return (await self.inventory()).accelerators

    def _judge(self) -> None:
        now, usage = asyncio.get_running_loop().time(), self.usage()
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
        self.tell()

    def _shown(self, inventory: Inventory) -> Inventory:
        return replace(inventory, accelerators=tuple(map(self._mark, inventory.accelerators)))

    def _mark(self, device: Accelerator) -> Accelerator:
        problem = self.leaks().get(device.id)
        return device if problem is None else replace(device, health=DeviceHealth.UNUSABLE, problem=problem)
