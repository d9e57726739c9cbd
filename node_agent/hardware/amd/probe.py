"""AMD GPUs: the amdsmi library, else amd-smi, else rocm-smi; what the kernel tells fills in and stands alone."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

from node_agent.domain.inventory import Accelerator
from node_agent.hardware.amd import library as amd_library
from node_agent.hardware.amd import rocm_smi
from node_agent.hardware.amd import smi as amd_smi
from node_agent.hardware.amd import sysfs as amd_sysfs
from node_agent.hardware.host import Host, ToolFailedError, ToolMissingError


def probe(host: Host, _known: Sequence[Accelerator] = ()) -> list[Accelerator]:
    """Every device that amdgpu drives; without one no tool is asked."""
    kernel = amd_sysfs.probe(host)
    return joined(kernel, _told(host)) if kernel else []


def joined(kernel: Sequence[Accelerator], told: Sequence[Accelerator]) -> list[Accelerator]:
    """By PCI address; the kernel says which devices there are, the tool says what they are called."""
    by_address = {device.pci_address: device for device in told}
    return [_both(device, by_address.get(device.pci_address)) for device in kernel]


def _both(kernel: Accelerator, told: Accelerator | None) -> Accelerator:
    if told is None:
        return kernel
    return replace(
        kernel,
        display_name=told.display_name or kernel.display_name,
        memory_bytes=kernel.memory_bytes if kernel.memory_bytes is not None else told.memory_bytes,
        driver_version=told.driver_version or kernel.driver_version,
        health=told.health or kernel.health,
        problem=told.problem or kernel.problem,
        source=told.source,
        details=kernel.details | told.details,
    )


def _told(host: Host) -> list[Accelerator]:
    """By the first that answers."""
    ways: tuple[Callable[[Host], list[Accelerator]], ...] = (_library, amd_smi.probe, rocm_smi.probe)
    for way in ways:
        try:
            found = way(host)
        except (ToolMissingError, ToolFailedError):
            continue
        if found:
            return found
    return []


def _library(host: Host) -> list[Accelerator]:
    """Its Python binding fails in ways of its own without the library, so that is looked for first."""
    folders = (os.environ.get("ROCM_PATH", "/opt/rocm"), "/opt/rocm")
    if not any((host.root / folder.lstrip("/") / "lib/libamd_smi.so").exists() for folder in folders):
        return []
    with contextlib.redirect_stdout(sys.stderr):
        try:
            module = importlib.import_module("amdsmi")
        except (ImportError, OSError, KeyError, AttributeError):
            return []
        return amd_library.probe(module)
