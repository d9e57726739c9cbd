"""NPUs under Linux: the accel class, and devices that only have a node of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from node_agent.domain.inventory import Accelerator, AcceleratorUsage, DeviceHealth
from node_agent.hardware.host import Host, children, number, target, text

NAMES = {"intel_vpu": "Intel NPU", "amdxdna": "AMD XDNA NPU", "qaic": "Qualcomm Cloud AI", "habanalabs": "Intel Gaudi"}
VENDORS = {0x8086: "Intel", 0x1022: "AMD", 0x17CB: "Qualcomm", 0x1DA3: "Intel"}
# Nodes of devices whose drivers are no part of the accel class.
NODES = (
    ("fastrpc-cdsp*", "Qualcomm Hexagon (HTP)", "Qualcomm"),
    ("hailo*", "Hailo", "Hailo"),
    ("apex_*", "Coral Edge TPU", "Google"),
    ("rknpu*", "Rockchip NPU", "Rockchip"),
    ("davinci[0-9]*", "Huawei Ascend", "Huawei"),
)
MICROSECONDS = 1_000_000


def probe(host: Host, _known: Sequence[Accelerator] = ()) -> list[Accelerator]:
    return [*(_accel(folder) for folder in _folders(host)), *_nodes(host)]


def _folders(host: Host) -> Iterator[Path]:
    return children(host.root / "sys/class/accel", "accel[0-9]*")


def address_of(folder: Path) -> str:
    """On PCI; else the device's own name."""
    found = re.search(r"PCI_SLOT_NAME=(\S+)", text(folder / "device/uevent"))
    return found[1].lower() if found else folder.name


def _accel(folder: Path) -> Accelerator:
    driver, address = target(folder / "device/driver"), address_of(folder)
    vendor = VENDORS.get(number(folder / "device/vendor") or 0, "")
    return Accelerator(
        id=address,
        kind="npu_other",
        display_name=NAMES.get(driver, f"{vendor or 'Unknown'} accelerator ({driver or 'no driver'})"),
        vendor=vendor,
        pci_address=address if ":" in address else "",
        health=DeviceHealth.OK if driver else DeviceHealth.UNKNOWN,
        unified_memory=driver in {"intel_vpu", "amdxdna"},
        source="sysfs",
        details={"kernel_driver": driver} if driver else {},
    )


def _nodes(host: Host) -> Iterator[Accelerator]:
    for pattern, name, vendor in NODES:
        for node in children(host.root / "dev", pattern):
            yield Accelerator(id=node.name, kind="npu_other", display_name=name, vendor=vendor, source="dev")


class NpuUsage:
    """Intel counts busy microseconds; the share is that of the time between two rounds."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._before: dict[str, tuple[int, float]] = {}

    def read(self, now: float) -> list[AcceleratorUsage]:
        """`now`: seconds of a monotonic clock."""
        return [self._usage(folder, now) for folder in _folders(self._host)]

    def _usage(self, folder: Path, now: float) -> AcceleratorUsage:
        id_, device = address_of(folder), folder / "device"
        clock = number(device / "freq/current_freq") or number(device / "npu_current_frequency_mhz")
        return AcceleratorUsage(
            id=id_,
            memory_used_bytes=number(device / "npu_memory_utilization"),
            utilization_percent=self._busy(id_, number(device / "npu_busy_time_us"), now),
            figures={} if clock is None else {"npu_clock_mhz": float(clock)},
        )

    def _busy(self, id_: str, busy_us: int | None, now: float) -> float | None:
        if busy_us is None:
            return None
        before, self._before[id_] = self._before.get(id_), (busy_us, now)
        if before is None or now <= before[1]:
            return None
        share = (busy_us - before[0]) / MICROSECONDS / (now - before[1])
        return round(100 * min(1.0, max(0.0, share)), 1)
