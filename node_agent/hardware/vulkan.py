"""GPUs that only a Vulkan driver tells of, from `vulkaninfo --summary`. Software renderers are no devices."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from node_agent.domain.inventory import Accelerator, DeviceHealth
from node_agent.hardware.host import Host, ToolFailedError, ToolMissingError
from node_agent.hardware.report import ProbeFailedError

SOFTWARE = re.compile(r"llvmpipe|lavapipe|swiftshader|core processor", re.IGNORECASE)
VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel", "0x106b": "Apple", "0x5143": "Qualcomm"}
NATIVE = frozenset({"gpu_cuda", "gpu_rocm", "gpu_metal"})


def probe(host: Host, known: Sequence[Accelerator] = ()) -> list[Accelerator]:
    """Asks only where a device has no working driver of its own: the tool loads every Vulkan driver there is."""
    if known and not any(_wants(device, known) for device in known):
        return []
    try:
        return parse(host.run("vulkaninfo", "--summary"))
    except ToolMissingError:
        return []
    except ToolFailedError as error:
        raise ProbeFailedError(error.problem("vulkaninfo"), quiet=True) from None


def _wants(device: Accelerator, known: Sequence[Accelerator]) -> bool:
    """Whether it may compute, and no driver of its own told that it does."""
    graphics = device.kind.startswith("gpu") or device.kind == "other"
    return graphics and not any(
        other.kind in NATIVE and other.health is DeviceHealth.OK and _same(device, other) for other in known
    )


def _same(one: Accelerator, other: Accelerator) -> bool:
    return one.id == other.id or (one.pci_address != "" and one.pci_address == other.pci_address)


def parse(said: str) -> list[Accelerator]:
    blocks = (dict(_pairs(block)) for block in re.split(r"^GPU\d+:\s*$", said, flags=re.MULTILINE)[1:])
    return [_device(block) for block in blocks if not _is_software(block)]


def _pairs(block: str) -> list[tuple[str, str]]:
    return [(found[1], found[2].strip()) for found in re.finditer(r"^\s*(\w+)\s*= (.*)$", block, re.MULTILINE)]


def _is_software(block: Mapping[str, str]) -> bool:
    cpu = block.get("deviceType", "").endswith("_CPU")
    return cpu or SOFTWARE.search(block.get("deviceName", "")) is not None


def _device(block: Mapping[str, str]) -> Accelerator:
    vendor, device = (block.get(name, "").lower() for name in ("vendorID", "deviceID"))
    details = {
        "pci_id": f"{vendor.removeprefix('0x')}:{device.removeprefix('0x')}",
        "vulkan_api_version": block.get("apiVersion", "").split(" ")[0],
        "vulkan_driver": block.get("driverName", ""),
    }
    return Accelerator(
        id=f"vulkan-{block.get('deviceUUID', '') or details['pci_id']}",
        kind="gpu_vulkan",
        display_name=block.get("deviceName", ""),
        driver_version=(block.get("driverInfo") or block.get("driverVersion", "")).strip(),
        vendor=VENDORS.get(vendor, ""),
        health=DeviceHealth.OK,
        unified_memory=block.get("deviceType", "").endswith("INTEGRATED_GPU"),
        source="vulkaninfo",
        details={name: value for name, value in details.items() if value},
    )
