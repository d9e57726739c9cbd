"""The GPU of an NVIDIA Jetson, which sits in the processor and has no memory and no PCI address of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from node_agent.domain.inventory import Accelerator, DeviceHealth
from node_agent.hardware.host import Host, text
from node_agent.hardware.processor.probe import memory_bytes

JETPACKS = {"35": "5", "36": "6"}
"""By L4T release."""


def probe(host: Host, known: Sequence[Accelerator] = ()) -> list[Accelerator]:
    """Nothing on other machines, or where NVML told of the GPU."""
    release = re.search(r"# R(\d+)", text(host.root / "etc/nv_tegra_release"))
    if release is None or any(device.kind == "gpu_cuda" and device.source != "pci" for device in known):
        return []
    jetpack = os.environ.get("JETSON_JETPACK") or JETPACKS.get(release[1], "")
    details = {"l4t_release": release[1], "jetpack_version": jetpack}
    return [
        Accelerator(
            id="tegra-gpu",
            kind="gpu_cuda",
            display_name=text(host.root / "proc/device-tree/model") or "NVIDIA Tegra GPU",
            memory_bytes=memory_bytes(host.root),
            driver_version=f"L4T R{release[1]}",
            vendor="NVIDIA",
            health=DeviceHealth.OK,
            unified_memory=True,
            source="sysfs",
            details={name: value for name, value in details.items() if value},
        )
    ]
