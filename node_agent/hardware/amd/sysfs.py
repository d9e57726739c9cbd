"""AMD GPUs as the kernel shows them, with or without ROCm."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from node_agent.domain.inventory import Accelerator, AcceleratorUsage, DeviceHealth, DeviceProcess
from node_agent.hardware.host import Host, children, number, target, text
from node_agent.hardware.hwmon import power_limit_milliwatts, power_milliwatts, temperatures
from node_agent.hardware.processor.probe import memory_bytes

AMD = 0x1002
GIB = 1 << 30


def cards(host: Host) -> Iterator[tuple[str, Path]]:
    """(PCI address, device folder) of each GPU that amdgpu holds; connectors such as card0-DP-1 are left out."""
    for card in children(host.root / "sys/class/drm", "card*"):
        device = card / "device"
        if "-" not in card.name and number(device / "vendor") == AMD and target(device / "driver") == "amdgpu":
            found = re.search(r"PCI_SLOT_NAME=(\S+)", text(device / "uevent"))
            if found:
                yield found[1].lower(), device


def probe(host: Host) -> list[Accelerator]:
    chips = dict(_kfd(host))
    return [_device(host, address, folder, chips) for address, folder in cards(host)]


def usages(host: Host) -> list[AcceleratorUsage]:
    return [_usage(address, folder, _processes(host, address)) for address, folder in cards(host)]


def _device(host: Host, address: str, folder: Path, chips: dict[str, dict[str, str]]) -> Accelerator:
    unified = is_integrated(folder)
    own = number(folder / "mem_info_vram_total")
    pci_id = f"{text(folder / 'vendor').removeprefix('0x')}:{text(folder / 'device').removeprefix('0x')}"
    known = {"pci_id": pci_id, "kernel_driver": "amdgpu", "vbios_version": text(folder / "vbios_version")}
    return Accelerator(
        id=address,
        kind="gpu_rocm",
        display_name=text(folder / "product_name"),
        memory_bytes=memory_bytes(host.root) if unified else own,
        driver_version=text(host.root / "sys/module/amdgpu/version"),
        vendor="AMD",
        pci_address=address,
        health=DeviceHealth.OK,
        unified_memory=unified,
        source="sysfs",
        details={name: value for name, value in known.items() if value} | chips.get(address, {}),
    )


def is_integrated(folder: Path) -> bool:
    """A GPU inside a processor: little memory of its own, much of the machine's."""
    own, shared = number(folder / "mem_info_vram_total") or 0, number(folder / "mem_info_gtt_total") or 0
    board = text(folder / "mem_info_vram_vendor") or text(folder / "board_info")
    return not board and own <= 4 * GIB and shared >= 8 * GIB and shared >= 4 * own


def _kfd(host: Host) -> Iterator[tuple[str, dict[str, str]]]:
    """(PCI address, what the compute driver says) of each GPU node."""
    for node in children(host.root / "sys/class/kfd/kfd/topology/nodes"):
        found = dict(line.split(None, 1) for line in text(node / "properties").splitlines() if " " in line)
        version, place = int(found.get("gfx_target_version", 0)), int(found.get("location_id", 0))
        if version and place:
            domain = int(found.get("domain", 0))
            address = f"{domain:04x}:{place >> 8 & 0xFF:02x}:{place >> 3 & 0x1F:02x}.{place & 7}"
            yield address, {"compute_capability": gfx_name(version), "kfd_id": text(node / "gpu_id")}


def gfx_name(version: int) -> str:
    """110000 is gfx1100, 90010 is gfx90a: major in decimal, minor and step in hexadecimal."""
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"


def _usage(address: str, folder: Path, processes: tuple[DeviceProcess, ...]) -> AcceleratorUsage:
    heat = temperatures(folder)
    figures = {
        "memory_bandwidth_percent": number(folder / "mem_busy_percent"),
        "shared_memory_used_bytes": number(folder / "mem_info_gtt_used"),
        "shared_memory_total_bytes": number(folder / "mem_info_gtt_total"),
        "temperature_junction_celsius": heat.get("junction"),
        "memory_temperature_celsius": heat.get("mem"),
    }
    return AcceleratorUsage(
        id=address,
        memory_total_bytes=number(folder / "mem_info_vram_total"),
        memory_used_bytes=number(folder / "mem_info_vram_used"),
        utilization_percent=number(folder / "gpu_busy_percent"),
        temperature_celsius=heat.get("edge", next(iter(heat.values()), None)),
        power_milliwatts=power_milliwatts(folder),
        power_limit_milliwatts=power_limit_milliwatts(folder),
        processes=processes,
        figures={name: float(value) for name, value in figures.items() if value is not None},
    )


def _processes(host: Host, address: str) -> tuple[DeviceProcess, ...]:
    """What the compute driver says that processes hold; it names GPUs by a number of its own."""
    gpu = dict(_kfd(host)).get(address, {}).get("kfd_id", "")
    folders = children(host.root / "sys/class/kfd/kfd/proc") if gpu else ()
    held = ((folder.name, number(folder / f"vram_{gpu}")) for folder in folders)
    return tuple(DeviceProcess(int(pid), size) for pid, size in held if pid.isdigit() and size is not None)
