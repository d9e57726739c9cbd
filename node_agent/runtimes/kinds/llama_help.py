"""Reads which devices llama-server lists, and of what kind they are."""

from __future__ import annotations

import re

from node_agent.domain.inventory import EngineDevice

DEVICE = re.compile(r"^\s+([A-Za-z]+\d+): (.+)$")
KINDS = {
    "cuda": "gpu_cuda",
    "rocm": "gpu_rocm",
    "hip": "gpu_rocm",
    "metal": "gpu_metal",
    "mtl": "gpu_metal",
    "vulkan": "gpu_vulkan",
}


def devices_of(listing: str) -> tuple[EngineDevice, ...]:
    found = [match for line in listing.splitlines() if (match := DEVICE.match(line))]
    return tuple(EngineDevice(match[1], kind_of(match[1]), match[2].strip()) for match in found)


def kind_of(device: str) -> str:
    return KINDS.get(device.rstrip("0123456789").lower(), "other")
