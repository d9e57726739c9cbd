"""Tells each running instance when a device that it runs on is lost, ails, or is held back for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from node_agent.domain.device_throttling import Lasting, Limit, limits_in
from node_agent.domain.device_trouble import DeviceUse, Trouble, broken, runs_on, seen_on, trouble_of, worst
from node_agent.domain.inventory import CPU, Accelerator, AcceleratorUsage, Inventory, NodeUsage
from node_agent.domain.spec import InstanceName
from node_agent.use_cases.ports import Hardware

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class TroubleTimers:
    look: timedelta = timedelta(seconds=2)
    lasting: timedelta = timedelta(seconds=12)
    """A limit seen in three rounds of figures in a row, 5 s each, lasts so long; one seen in two does not."""


SECOND_LONG = TroubleTimers(timedelta(milliseconds=100), timedelta(milliseconds=1200))


@dataclass(slots=True)
class _Attended:
    use: DeviceUse
    tell: Callable[[Trouble | None], None]
    told: Trouble | None = None
    listed: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Processes by device, when they were last asked about: that costs a look into /proc for each, so it is done
    again only while the engine is found nowhere - a container tells late who runs in it - or when there are others."""
    seen: dict[str, bool] = field(default_factory=dict)
    """Whether a device's driver listed a process of the engine. One that lists nobody any more is as it was: a driver
    that lost its device does not say."""

    def look(self, usage: NodeUsage | None) -> None:
        if self.use.kind == CPU:
            return
        searching = not self.devices
        for device in _each(usage):
            pids = tuple(process.pid for process in device.processes)
            if pids and (searching or self.listed.get(device.id) != pids):
                self.listed[device.id] = pids
                self.seen[device.id] = device.id in seen_on(self.use, NodeUsage((device,)))

    @property
    def devices(self) -> frozenset[str]:
        return frozenset(device for device, ours in self.seen.items() if ours)


class DeviceWatch:
    """Implements DeviceTroubles. What is not known to be an instance's device is not held against it."""

    def __init__(self, hardware: Hardware, timers: TroubleTimers, look_soon: Callable[[], None] = lambda: None) -> None:
        """`look_soon`: at the machine, without waiting for the next turn."""
        self._hardware = hardware
        self._look_soon = look_soon
        self._timers = timers
        self._devices: tuple[Accelerator, ...] = ()
        self._lasting: dict[tuple[str, Limit], Lasting] = {}
        self._attended: dict[InstanceName, _Attended] = {}
        hardware.on_change(self._changed)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._timers.look.total_seconds())
            self._look()

    @contextmanager
    def attended(
        self, instance: InstanceName, use: DeviceUse, tell: Callable[[Trouble | None], None]
    ) -> Iterator[None]:
        """When it is over, its devices are looked at soon: an engine that lost one may be the first to notice."""
        one = self._attended[instance] = _Attended(use, tell)
        self._tell(instance, one, self._hardware.usage())
        try:
            yield
        finally:
            del self._attended[instance]
            if runs_on(use, one.devices, self._devices):
                self._look_soon()

    def any_broken(self) -> bool:
        return any(broken(device) for device in self._devices)

    def _changed(self, inventory: Inventory) -> None:
        self._devices = inventory.accelerators
        self._look()

    def _look(self) -> None:
        usage = self._hardware.usage()
        self._weigh(usage)
        for instance, one in list(self._attended.items()):
            self._tell(instance, one, usage)

    def _weigh(self, usage: NodeUsage | None) -> None:
        """Without figures nothing is claimed: then no limit is seen."""
        now, long_s = asyncio.get_running_loop().time(), self._timers.lasting.total_seconds()
        held_back = {(each.id, limit) for each in _each(usage) for limit in limits_in(each.throttle_reasons)}
        for key in self._lasting.keys() | held_back:
            self._lasting[key] = self._lasting.get(key, Lasting()).seen(now, long_s, holds=key in held_back)
        self._lasting = {key: one for key, one in self._lasting.items() if one != Lasting()}

    def _tell(self, instance: InstanceName, one: _Attended, usage: NodeUsage | None) -> None:
        one.look(usage)
        used = runs_on(one.use, one.devices, self._devices)
        found = worst((device, self._trouble(device)) for device in self._devices if device.id in used)
        if found == one.told:
            return
        one.told = found
        log.warning("instance_device_trouble", instance=instance, label=found.label if found else "over")
        one.tell(found)

    def _trouble(self, device: Accelerator) -> Trouble | None:
        return trouble_of(device, [limit for limit in Limit if self._counts(device, limit)])

    def _counts(self, device: Accelerator, limit: Limit) -> bool:
        one = self._lasting.get((device.id, limit))
        return one is not None and one.counts


def _each(usage: NodeUsage | None) -> tuple[AcceleratorUsage, ...]:
    return usage.accelerators if usage else ()
