"""Keeps one child that reads the devices' figures: started again when it dies, killed when it falls silent."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from node_agent.domain.inventory import NodeUsage
from node_agent.hardware import child
from node_agent.hardware.usage_lines import DeviceEvent, Reading, from_json

LONGEST_WAIT_S = 300.0
SILENT_ROUNDS = 3
SOURCES = {
    "nvml": "nvidia",
    "amdsmi": "amd",
    "amd-smi": "amd",
    "rocm-smi": "amd",
    "system_profiler": "apple",
    "simulated": "simulated",
}
BY_DRIVER = {"i915": "intel", "xe": "intel", "amdgpu": "amd", "intel_vpu": "npu", "amdxdna": "npu"}

_log = structlog.get_logger()


@dataclass(slots=True)
class UsageWatch:
    interval: timedelta
    on_event: Callable[[DeviceEvent], None]
    starting: timedelta = timedelta(seconds=10)
    """Drivers take their time to come up, beside the rounds that may be missed."""
    command: Sequence[str] = child.USAGE
    _readings: dict[str, tuple[Reading, float]] = field(default_factory=dict)
    _sources: frozenset[str] = frozenset({"processor"})
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _heard: set[str] = field(default_factory=set)
    """Sources that the present child has told of."""
    _failures: int = 0

    def watch(self, sources: frozenset[str]) -> None:
        """Read these from now on; the child is started again when they are others."""
        if sources != self._sources:
            self._sources = sources
            self._readings = {name: reading for name, reading in self._readings.items() if name in sources}
            self._changed.set()

    def usage(self) -> NodeUsage | None:
        """As of the last rounds; what is older is not told."""
        now = asyncio.get_running_loop().time()
        fresh = [reading for reading, at in self._readings.values() if now - at <= self._patience_s]
        if not fresh:
            return None
        power = next((reading for reading in fresh if reading.source == "processor"), None)
        return NodeUsage(
            tuple(usage for reading in fresh for usage in reading.usages),
            power.battery_percent if power else None,
            power.on_battery if power else None,
        )

    async def run(self) -> None:
        """Until cancelled; the child ends with it."""
        while True:
            self._changed.clear()
            self._heard.clear()
            process = await child.started(
                [*self.command, "--interval", str(self.interval.total_seconds()), "--sources", *sorted(self._sources)]
            )
            try:
                why = await self._listen(process)
            finally:
                gone = await child.ended(process)
            if why:
                _log.warning("usage_probe_ended", why=why, failures=self._failures)
                self.on_event(DeviceEvent())
                await self._pause()
            if not gone:
                await process.wait()

    @property
    def _patience_s(self) -> float:
        return (SILENT_ROUNDS * self.interval + self.starting).total_seconds()

    async def _listen(self, process: Process) -> str:
        """Why it has to be started again; empty when other sources are wanted."""
        changed = asyncio.ensure_future(self._changed.wait())
        reading = asyncio.ensure_future(self._read(process))
        try:
            await asyncio.wait({changed, reading}, return_when=asyncio.FIRST_COMPLETED)
            return await reading if reading.done() else ""
        finally:
            for task in (changed, reading):
                task.cancel()
            await asyncio.wait({changed, reading})

    async def _read(self, process: Process) -> str:
        try:
            while line := await child.line_of(process, self._patience_s):
                self._take(from_json(line))
        except TimeoutError:
            self._failures += 1
            return "it fell silent"
        except (ValueError, TypeError, KeyError):
            self._failures += 1
            return "it said what makes no sense"
        self._failures += 1
        return "it died"

    def _take(self, line: Reading | DeviceEvent) -> None:
        if isinstance(line, DeviceEvent):
            self.on_event(line)
            return
        self._readings[line.source] = (line, asyncio.get_running_loop().time())
        self._heard.add(line.source)
        if self._heard >= self._sources:
            self._failures = 0

    async def _pause(self) -> None:
        await asyncio.sleep(min(LONGEST_WAIT_S, self.interval.total_seconds() * 2 ** min(self._failures, 16)))


def sources_of(devices: Sequence[tuple[str, str]]) -> frozenset[str]:
    """What to read for devices given as (Accelerator.source, kernel driver)."""
    found = {SOURCES.get(source) or BY_DRIVER.get(driver, "") for source, driver in devices}
    return frozenset({"processor", *found} - {""})
