"""What the GPU and the battery of a Mac do now, without root."""

from __future__ import annotations

import plistlib
import re

from node_agent.domain.inventory import AcceleratorUsage
from node_agent.hardware.host import Host

IOREG = ("ioreg", "-r", "-d", "1", "-w", "0", "-c", "IOAccelerator", "-a")
FIGURES = {
    "Renderer Utilization %": "renderer_percent",
    "Tiler Utilization %": "tiler_percent",
    "Alloc system memory": "memory_allocated_bytes",
}


def usages(host: Host) -> list[AcceleratorUsage]:
    """ToolMissingError, ToolFailedError."""
    model = host.run("sysctl", "-n", "hw.model").strip().lower()
    return parse(host.run(*IOREG).encode(), model)


def parse(said: bytes, model: str) -> list[AcceleratorUsage]:
    """In the order in which system_profiler lists them."""
    found = plistlib.loads(said) if said.strip() else []
    statistics = [entry.get("PerformanceStatistics", {}) for entry in found]
    return [
        AcceleratorUsage(
            id=f"{model}-gpu{place}",
            memory_used_bytes=entry.get("In use system memory"),
            utilization_percent=entry.get("Device Utilization %"),
            figures={name: float(entry[key]) for key, name in FIGURES.items() if key in entry},
        )
        for place, entry in enumerate(statistics)
    ]


def battery(said: str) -> tuple[float | None, bool | None]:
    """From `pmset -g batt`: charge in percent, and whether the machine lives on it."""
    charge = re.search(r"(\d+)%;", said)
    source = re.search(r"drawing from '(\w+) Power'", said)
    return (float(charge[1]) if charge else None), (source[1] == "Battery" if source else None)
