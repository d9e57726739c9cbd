"""`amd-smi list --json` and `static --json`, in the shapes that its versions write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from node_agent.domain.inventory import Accelerator, DeviceHealth
from node_agent.hardware.host import Host
from node_agent.hardware.tool_json import objects_in

WRAPPED = "gpu_data"
"""Newer versions put the list into an object."""
UNITS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}


def probe(host: Host) -> list[Accelerator]:
    """ToolMissingError, ToolFailedError."""
    return parse(host.run("amd-smi", "list", "--json"), host.run("amd-smi", "static", "--json"))


def parse(listed: str, static: str) -> list[Accelerator]:
    """By the device number of one run, which is not kept."""
    facts = {entry.get("gpu"): entry for entry in objects_in(static, WRAPPED)}
    listing = objects_in(listed, WRAPPED)
    return [_device(entry, facts.get(entry.get("gpu"), {})) for entry in listing if entry.get("bdf")]


def quantity(value: object, factor: Mapping[str, int] = UNITS) -> int | None:
    """Of {"value": 16368, "unit": "MB"} or a bare number of megabytes; None for "N/A"."""
    if isinstance(value, dict):
        return _scaled(value.get("value"), factor.get(str(value.get("unit"))))
    return _scaled(value, factor["MB"])


def _scaled(value: object, factor: int | None) -> int | None:
    return int(value * factor) if isinstance(value, (int, float)) and factor else None


def _device(listed: Mapping[str, Any], facts: Mapping[str, Any]) -> Accelerator:
    chip, memory, driver = (_part(facts, name) for name in ("asic", "vram", "driver"))
    known = {
        "uuid": listed.get("uuid"),
        "compute_capability": chip.get("target_graphics_version"),
        "compute_units": chip.get("num_compute_units"),
        "memory_type": memory.get("type"),
    }
    address = str(listed["bdf"]).lower()
    return Accelerator(
        id=address,
        kind="gpu_rocm",
        display_name=str(chip.get("market_name") or ""),
        memory_bytes=quantity(memory.get("size")),
        driver_version=str(driver.get("version") or ""),
        vendor="AMD",
        pci_address=address,
        health=DeviceHealth.OK,
        source="amd-smi",
        details={name: str(value) for name, value in known.items() if value not in (None, "N/A", "")},
    )


def _part(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = facts.get(name)
    return part if isinstance(part, dict) else {}
