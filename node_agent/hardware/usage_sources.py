"""Where usage comes from, one reader a kind of device. Each keeps open what it needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from node_agent.hardware import intel, simulated
from node_agent.hardware.amd import sysfs as amd_sysfs
from node_agent.hardware.apple import usage as apple_usage
from node_agent.hardware.host import Host, ToolMissingError
from node_agent.hardware.npu import NpuUsage
from node_agent.hardware.processor.usage import ProcessorUsage, battery
from node_agent.hardware.usage_lines import DeviceEvent, Reading

Line = Reading | DeviceEvent


class Source(Protocol):
    def __call__(self) -> Iterator[Line]:
        """One round. Whatever it raises ends the child, which the agent starts again."""


def sources(names: Sequence[str], host: Host) -> list[Source]:
    """In the order in which they are read. None is opened before its first turn: what it opens may hang."""
    return [_opened_late(build, host) for name, build in BUILDERS.items() if name in names]


def _opened_late(build: Callable[[Host], Source], host: Host) -> Source:
    opened: Source | None = None

    def read() -> Iterator[Line]:
        nonlocal opened
        opened = opened or build(host)
        yield from opened()

    return read


def _processor(host: Host) -> Source:
    usage = ProcessorUsage(host.root)

    def read() -> Iterator[Line]:
        charge, on_battery = _battery(host)
        yield Reading("processor", (usage.read(),), charge, on_battery)

    return read


def _battery(host: Host) -> tuple[float | None, bool | None]:
    if host.system != "darwin":
        return battery(host.root)
    try:
        return apple_usage.battery(host.run("pmset", "-g", "batt"))
    except ToolMissingError:
        return None, None


def _npu(host: Host) -> Source:
    usage = NpuUsage(host)
    return lambda: iter([Reading("npu", tuple(usage.read(time.monotonic())))])


def _nvidia(host: Host) -> Source:
    from node_agent.hardware.nvidia.usage import NvidiaUsage  # noqa: PLC0415 - only where there is such a GPU
    from node_agent.hardware.nvidia.watch import NvidiaWatch  # noqa: PLC0415 - the same

    usage, watch, troubled = NvidiaUsage(host), NvidiaWatch(), frozenset[str]()

    def read() -> Iterator[Line]:
        nonlocal troubled
        yield Reading("nvidia", tuple(usage.read()))
        yield from (DeviceEvent(event.id, event.xid) for event in watch.events())
        if usage.troubled != troubled:
            troubled = usage.troubled
            yield DeviceEvent()

    return read


BUILDERS: dict[str, Callable[[Host], Source]] = {
    "processor": _processor,
    "simulated": lambda _: lambda: iter([Reading("simulated", tuple(simulated.usages()))]),
    "npu": _npu,
    "intel": lambda host: lambda: iter([Reading("intel", tuple(intel.usages(host)))]),
    "amd": lambda host: lambda: iter([Reading("amd", tuple(amd_sysfs.usages(host)))]),
    "apple": lambda host: lambda: iter([Reading("apple", tuple(apple_usage.usages(host)))]),
    "nvidia": _nvidia,
}
"""In the order in which they are read: what can hang comes last."""
