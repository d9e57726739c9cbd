"""Heat and power of a device, from the sensors that its kernel driver offers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from node_agent.hardware.host import children, number, text

MICROWATTS = 1000
"""In a milliwatt."""


def temperatures(device: Path) -> dict[str, float]:
    """Degrees Celsius by the sensor's label, or by its number where it has none."""
    return dict(_temperatures(device))


def power_milliwatts(device: Path) -> int | None:
    return _first(device, "power1_average", "power1_input")


def power_limit_milliwatts(device: Path) -> int | None:
    return _first(device, "power1_cap", "power1_max")


def _temperatures(device: Path) -> Iterator[tuple[str, float]]:
    for sensor in children(device, "hwmon/hwmon*/temp*_input"):
        value = number(sensor)
        if value is not None:
            label = text(sensor.with_name(sensor.name.replace("_input", "_label")))
            yield label or sensor.name.removesuffix("_input"), value / 1000


def _first(device: Path, *names: str) -> int | None:
    for folder in children(device, "hwmon/hwmon*"):
        for name in names:
            value = number(folder / name)
            if value is not None:
                return value // MICROWATTS
    return None
