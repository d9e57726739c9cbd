"""What the processor, its memory and the battery do now."""

from __future__ import annotations

from pathlib import Path

from node_agent.domain.inventory import CPU, AcceleratorUsage
from node_agent.hardware.host import children, number, text
from node_agent.hardware.processor.probe import available_memory_bytes, memory_bytes

CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
ZONES = ("x86_pkg_temp", "cpu-thermal", "cpu_thermal")


class ProcessorUsage:
    """Busy time counts for the whole machine, memory for what this agent may use of it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._before: tuple[int, int] | None = None

    def read(self) -> AcceleratorUsage:
        total, free = memory_bytes(self._root), available_memory_bytes(self._root)
        return AcceleratorUsage(
            id=CPU,
            memory_total_bytes=total,
            memory_used_bytes=None if total is None or free is None else max(0, total - free),
            utilization_percent=self._busy(),
            temperature_celsius=temperature(self._root),
            figures=_load(self._root),
        )

    def _busy(self) -> float | None:
        """Since the last call; None the first time."""
        ticks = [int(word) for word in text(self._root / "proc/stat").partition("\n")[0].split()[1:9]]
        if len(ticks) < 5:  # noqa: PLR2004 - user nice system idle iowait
            return None
        before, self._before = self._before, (sum(ticks), ticks[3] + ticks[4])
        if before is None or self._before[0] <= before[0]:
            return None
        idle = (self._before[1] - before[1]) / (self._before[0] - before[0])
        return round(100 * min(1.0, max(0.0, 1 - idle)), 1)


def temperature(root: Path) -> float | None:
    """Of the processor, in degrees Celsius; the hottest of its sensors."""
    chips = [chip for chip in children(root / "sys/class/hwmon") if text(chip / "name") in CHIPS]
    zones = [zone for zone in children(root / "sys/class/thermal", "thermal_zone*") if text(zone / "type") in ZONES]
    sensors = [sensor for chip in chips for sensor in children(chip, "temp*_input")] or [
        zone / "temp" for zone in zones
    ]
    found = [value for sensor in sensors if (value := number(sensor)) is not None]
    return max(found) / 1000 if found else None


def battery(root: Path) -> tuple[float | None, bool | None]:
    """Charge in percent, and whether the machine lives on it. A mouse's battery is not the machine's."""
    supplies = [supply for supply in children(root / "sys/class/power_supply") if text(supply / "scope") != "Device"]
    batteries = [supply for supply in supplies if text(supply / "type") == "Battery"]
    mains = [supply for supply in supplies if text(supply / "type") in {"Mains", "USB"}]
    charges = [charge for supply in batteries if (charge := number(supply / "capacity")) is not None]
    plugged = [online for supply in mains if (online := number(supply / "online")) is not None]
    if not batteries:
        return None, False if any(plugged) else None
    on_battery = not any(plugged) if plugged else any(text(supply / "status") == "Discharging" for supply in batteries)
    return (sum(charges) / len(charges) if charges else None), on_battery


def _load(root: Path) -> dict[str, float]:
    words = text(root / "proc/loadavg").split()
    return {"load_average_1_minute": float(words[0])} if words else {}
