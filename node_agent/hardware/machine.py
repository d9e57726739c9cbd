"""What this machine is and what its devices do, for the control plane."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from node_agent.domain.inventory import CPU, Accelerator, DeviceHealth, Engine, Inventory, NodeUsage
from node_agent.hardware.look import Look, Looked
from node_agent.hardware.nvidia.xid_memory import XidMemory
from node_agent.hardware.processor.details import processor_details
from node_agent.hardware.processor.probe import ROOT, Machine, read_machine
from node_agent.hardware.usage_lines import DeviceEvent
from node_agent.hardware.usage_watch import UsageWatch, sources_of

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class HardwareTimers:
    """A look costs a tenth of a second of processor time, so it is taken seldom."""

    look_every: timedelta = timedelta(minutes=10)
    look_apart: timedelta = timedelta(seconds=10)
    """At least, however many events there are."""
    settle: timedelta = timedelta(seconds=2)
    """After an event: a driver that loads makes many."""
    first_look: timedelta = timedelta(seconds=5)
    """How long the first inventory waits for it; a driver that hangs does not keep the node offline."""
    usage: timedelta = timedelta(seconds=5)
    engines: timedelta = timedelta(seconds=2)
    """Between looks at the list of trusted engines."""
    patience: timedelta = timedelta(seconds=10)
    """With one probe, and with a driver that comes up: one that nobody has open takes seconds."""


SECOND_LONG = HardwareTimers(
    look_apart=timedelta(milliseconds=200),
    settle=timedelta(milliseconds=50),
    first_look=timedelta(seconds=3),
    usage=timedelta(milliseconds=500),
    engines=timedelta(milliseconds=200),
    patience=timedelta(seconds=3),
)


class LocalHardware:
    """Implements Hardware. Runs no driver's code in this process."""

    def __init__(self, engines: Callable[[], Sequence[Engine]], timers: HardwareTimers) -> None:
        self._engines = engines
        self._timers = timers
        self._look = Look(timers.patience)
        self._usage = UsageWatch(timers.usage, self._device_event, timers.patience)
        self._found: tuple[Accelerator, ...] = ()
        self._xids = XidMemory()
        self._looked, self._event = asyncio.Event(), asyncio.Event()
        self._listeners: list[Callable[[Inventory], None]] = []

    async def run(self) -> None:
        """Look, and watch what the devices do, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_looking())
            group.create_task(self._keep_measuring())
            group.create_task(self._keep_reading_engines())

    async def inventory(self) -> Inventory:
        """Devices as of the last look, everything else as of now."""
        try:
            async with asyncio.timeout(self._timers.first_look.total_seconds()):
                await self._looked.wait()
        except TimeoutError:
            _log.warning("accelerators_unknown_yet", seconds=self._timers.first_look.total_seconds())
        return await self._as_of_now(self._devices())

    async def devices(self) -> Sequence[Accelerator]:
        """All of this machine, the processor too."""
        return (await self.inventory()).accelerators

    def usage(self) -> NodeUsage | None:
        found = self._usage.usage()
        return found and replace(found, accelerators=tuple(map(self._xids.noted, found.accelerators)))

    def on_change(self, listener: Callable[[Inventory], None]) -> None:
        """Called on the loop after a look, or an Xid, that changed something, and when other engines are trusted."""
        self._listeners.append(listener)

    def look_soon(self) -> None:
        """A device may be another than it was."""
        self._event.set()

    def _device_event(self, event: DeviceEvent) -> None:
        """Look soon; an Xid counts from now on."""
        if event.xid is not None:
            _log.warning("gpu_xid", device=event.id, xid=event.xid)
            self._xids.note(event.id, event.xid, asyncio.get_running_loop().time())
        self._event.set()

    async def _keep_measuring(self) -> None:
        """From a while after the first look on: before that the node has better things to do."""
        await self._looked.wait()
        await asyncio.sleep(self._timers.usage.total_seconds())
        await self._usage.run()

    async def _keep_looking(self) -> None:
        told: tuple[Accelerator, ...] | None = None
        while True:
            self._event.clear()
            self._taken(await self._look())
            self._looked.set()
            devices = self._devices()
            if devices != told:
                told = devices
                _journal(devices)
                await self._tell(devices)
            await self._next_look()

    async def _keep_reading_engines(self) -> None:
        told = tuple(self._engines())
        await self._looked.wait()
        while True:
            await asyncio.sleep(self._timers.engines.total_seconds())
            trusted = tuple(self._engines())
            if trusted != told:
                told = trusted
                _log.info("trusted_engines", engines=[list(engine.command) for engine in trusted])
                await self._tell(self._devices())

    async def _tell(self, devices: Sequence[Accelerator]) -> None:
        now = await self._as_of_now(devices)
        for listener in self._listeners:
            listener(now)

    async def _as_of_now(self, devices: Sequence[Accelerator]) -> Inventory:
        machine, details = await asyncio.to_thread(_read)
        cpu = Accelerator(
            id=CPU,
            kind=CPU,
            display_name=machine.cpu_name,
            memory_bytes=machine.memory_bytes or None,
            health=DeviceHealth.OK,
            source="kernel",
            details=details,
        )
        return Inventory(
            os=machine.os,
            arch=machine.arch,
            os_release=machine.os_release,
            cpu_cores=machine.cpu_cores,
            memory_bytes=machine.memory_bytes,
            accelerators=(cpu, *devices),
            engines=tuple(self._engines()),
        )

    def _taken(self, looked: Looked) -> None:
        self._found = looked.accelerators
        for problem in looked.problems:
            _log.warning("accelerator_probe_failed", reason=problem.reason, text=problem.text, remedy=problem.remedy)
        self._usage.watch(sources_of([(d.source, d.details.get("kernel_driver", "")) for d in self._found]))

    def _devices(self) -> tuple[Accelerator, ...]:
        now = asyncio.get_running_loop().time()
        return tuple(self._xids.worn(device, now) for device in self._found)

    async def _next_look(self) -> None:
        await asyncio.sleep(self._timers.look_apart.total_seconds())
        try:
            async with asyncio.timeout(self._timers.look_every.total_seconds()):
                await self._event.wait()
        except TimeoutError:
            return
        await asyncio.sleep(self._timers.settle.total_seconds())


def _journal(devices: Sequence[Accelerator]) -> None:
    for device in devices:
        said = {"reason": device.problem.reason, "text": device.problem.text} if device.problem else {}
        _log.info("accelerator_found", id=device.id, name=device.display_name, health=device.health.value, **said)


def _read() -> tuple[Machine, dict[str, str]]:
    return read_machine(ROOT), processor_details(ROOT)
