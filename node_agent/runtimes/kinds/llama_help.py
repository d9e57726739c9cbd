"""Reads what llama-server says of itself."""

from __future__ import annotations

import re

from node_agent.runtimes.kinds.adapter import Capabilities, Device

FLAG = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")
DEVICE = re.compile(r"^\s+([A-Za-z]+\d+): (.+)$")
KINDS = {
    "cuda": "gpu_cuda",
    "rocm": "gpu_rocm",
    "hip": "gpu_rocm",
    "metal": "gpu_metal",
    "mtl": "gpu_metal",
    "vulkan": "gpu_vulkan",
}
COLUMNS = re.compile(r"\s{2,}(?=[^-\s])")


def flags_of(help_text: str) -> frozenset[str]:
    """Every option that the help lists, with all its spellings. Words about other options do not count."""
    lines = [line for line in help_text.splitlines() if line.startswith("-") and not line.startswith("-----")]
    return frozenset(flag for line in lines for flag in FLAG.findall(COLUMNS.split(line, maxsplit=1)[0]))


def devices_of(listing: str) -> tuple[Device, ...]:
    found = [match for line in listing.splitlines() if (match := DEVICE.match(line))]
    return tuple(Device(match[1], kind_of(match[1]), match[2].strip()) for match in found)


def kind_of(device: str) -> str:
    return KINDS.get(device.rstrip("0123456789").lower(), "other")


def version_of(text: str) -> str:
    """First line, without its label."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return first.removeprefix("version:").strip()


def capabilities(help_text: str, version_text: str, device_text: str) -> Capabilities:
    return Capabilities(version_of(version_text), flags_of(help_text), devices_of(device_text))
