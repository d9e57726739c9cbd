"""A node's accelerators in words: what each is, whether it works, and what it does now."""

from __future__ import annotations

from collections.abc import Iterator

from arw_client import messages as m

GIB = 2**30


def names(node: m.Node) -> str:
    """On one line, for a listing; what cannot be used says so."""
    found = node.inventory.accelerators if node.inventory else []
    return ", ".join(_name(device) + _note(device) for device in found) or "-"


def facts(node: m.Node) -> Iterator[tuple[str, str]]:
    """Name and value of each line; a line without a name goes on with the device above it."""
    usage = {each.id: each for each in node.usage.accelerators} if node.usage else {}
    for device in node.inventory.accelerators if node.inventory else ():
        yield "Accelerator", f"{_name(device)} - {device.kind_label}, {device.health_label.lower() or 'unknown'}"
        yield "", ", ".join(_identity(device))
        if doing := ", ".join(_memory(device, usage.get(device.id)) + _figures(usage.get(device.id))):
            yield "", doing
        if device.problem:
            yield "", device.problem.text
            yield "", device.problem.remedy
    if node.usage and node.usage.battery_percent is not None:
        source = "in use" if node.usage.on_battery else "charging or full"
        yield "Battery", f"{node.usage.battery_percent:.0f} %, {source}"


def _name(device: m.Accelerator) -> str:
    return f"{device.display_name or device.id}{' (simulated)' if device.simulated else ''}"


def _note(device: m.Accelerator) -> str:
    return f" ({device.health_slug})" if device.health_slug in {"degraded", "unusable"} else ""


def _identity(device: m.Accelerator) -> Iterator[str]:
    yield device.id
    if device.pci_address and device.pci_address != device.id:
        yield f"PCI {device.pci_address}"
    if device.partition_of:
        yield f"part of {device.partition_of}"
    if device.driver_version:
        yield f"driver {device.driver_version}"
    if device.source:
        yield f"told by {device.source}"


def _memory(device: m.Accelerator, usage: m.AcceleratorUsage | None) -> list[str]:
    total = usage.memory_total_bytes if usage and usage.memory_total_bytes is not None else device.memory_bytes
    used = usage.memory_used_bytes if usage else None
    shared = " shared with the machine" if device.unified_memory else ""
    if total is None:
        return [] if used is None else [f"memory {used / GIB:.1f} GiB used"]
    return [f"memory {'' if used is None else f'{used / GIB:.1f} of '}{total / GIB:.1f} GiB{shared}"]


def _figures(usage: m.AcceleratorUsage | None) -> list[str]:
    """Only what is known."""
    if usage is None:
        return []
    found = []
    if usage.utilization_percent is not None:
        found.append(f"{usage.utilization_percent:.0f} % busy")
    if usage.temperature_celsius is not None:
        found.append(f"{usage.temperature_celsius:.0f} °C")
    if usage.power_milliwatts is not None:
        limit = "" if usage.power_limit_milliwatts is None else f" of {usage.power_limit_milliwatts / 1000:.0f}"
        found.append(f"{usage.power_milliwatts / 1000:.0f}{limit} W")
    if usage.throttle_reasons:
        found.append(f"slowed by {', '.join(reason.replace('_', ' ') for reason in usage.throttle_reasons)}")
    if usage.last_xid is not None:
        found.append(f"last Xid {usage.last_xid}")
    return found
