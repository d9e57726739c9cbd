"""A GPU that is not there, for demonstrations and tests: LLAMA_GPU_SIMULATE=1. Everything about it says so."""

from __future__ import annotations

import os
from collections.abc import Sequence

from node_agent.domain.inventory import Accelerator, AcceleratorUsage, DeviceHealth
from node_agent.hardware.host import Host

VARIABLE = "LLAMA_GPU_SIMULATE"
ID = "simulated-gpu-0"
MEMORY_BYTES = 24 << 30


def wanted() -> bool:
    return os.environ.get(VARIABLE, "").lower() in {"1", "true", "yes", "on"}


def probe(_host: Host, _known: Sequence[Accelerator] = ()) -> list[Accelerator]:
    if not wanted():
        return []
    return [
        Accelerator(
            id=ID,
            kind="gpu_cuda",
            display_name="SIMULATED GPU",
            memory_bytes=MEMORY_BYTES,
            driver_version="simulated",
            simulated=True,
            vendor="simulated",
            health=DeviceHealth.OK,
            source="simulated",
        )
    ]


def usages() -> list[AcceleratorUsage]:
    """Always the same, so that nobody takes it for a measurement."""
    return [
        AcceleratorUsage(
            id=ID,
            memory_total_bytes=MEMORY_BYTES,
            memory_used_bytes=MEMORY_BYTES // 4,
            utilization_percent=25.0,
            temperature_celsius=42.0,
            power_milliwatts=100_000,
            power_limit_milliwatts=400_000,
        )
    ]
