"""Intel GPUs as the kernel's i915 and xe drivers show them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from node_agent.domain.inventory import Accelerator, AcceleratorUsage, DeviceHealth
from node_agent.hardware.host import Host, children, number, target, text
from node_agent.hardware.hwmon import power_limit_milliwatts, power_milliwatts, temperatures
from node_agent.hardware.processor.probe import memory_bytes

INTEL = 0x8086
DRIVERS = frozenset({"i915", "xe"})


def cards(host: Host) -> Iterator[tuple[str, Path]]:
    """(PCI address, folder of the card)."""
    for card in children(host.root / "sys/class/drm", "card*"):
        device = card / "device"
        if "-" not in card.name and number(device / "vendor") == INTEL and target(device / "driver") in DRIVERS:
            found = re.search(r"PCI_SLOT_NAME=(\S+)", text(device / "uevent"))
            if found:
                yield found[1].lower(), card


def probe(host: Host, _known: Sequence[Accelerator] = ()) -> list[Accelerator]:
    return [_device(host, address, card) for address, card in cards(host)]


def usages(host: Host) -> list[AcceleratorUsage]:
    return [_usage(address, card) for address, card in cards(host)]


def own_memory(card: Path) -> int | None:
    """Of a discrete card, in bytes; None on one that lives in the machine's memory."""
    tiles = [number(tile / "physical_vram_size_bytes") for tile in children(card / "device", "tile*")]
    known = [size for size in tiles if size is not None]
    return sum(known) if known else number(card / "lmem_total_bytes")


def _device(host: Host, address: str, card: Path) -> Accelerator:
    device, own = card / "device", own_memory(card)
    driver = target(device / "driver")
    pci_id = f"{text(device / 'vendor').removeprefix('0x')}:{text(device / 'device').removeprefix('0x')}"
    return Accelerator(
        id=address,
        kind="gpu_vulkan",
        memory_bytes=memory_bytes(host.root) if own is None else own,
        driver_version=text(host.root / f"sys/module/{driver}/version") or driver,
        vendor="Intel",
        pci_address=address,
        health=DeviceHealth.OK,
        unified_memory=own is None,
        source="sysfs",
        details={"pci_id": pci_id, "kernel_driver": driver},
    )


def _usage(address: str, card: Path) -> AcceleratorUsage:
    device = card / "device"
    clock = number(card / "gt_act_freq_mhz")
    heat = temperatures(device)
    return AcceleratorUsage(
        id=address,
        temperature_celsius=heat.get("pkg", next(iter(heat.values()), None)),
        power_milliwatts=power_milliwatts(device),
        power_limit_milliwatts=power_limit_milliwatts(device),
        figures={} if clock is None else {"graphics_clock_mhz": float(clock)},
    )
