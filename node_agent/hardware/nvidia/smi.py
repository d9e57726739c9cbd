"""NVIDIA GPUs by nvidia-smi, for when NVML cannot be asked directly."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

from node_agent.domain.inventory import Accelerator, DeviceHealth
from node_agent.hardware.host import Host, ToolFailedError, ToolMissingError
from node_agent.hardware.processor.probe import memory_bytes
from node_agent.hardware.report import ProbeFailedError

FIELDS = ("uuid", "name", "pci.bus_id", "memory.total", "driver_version", "compute_cap", "mig.mode.current")
NEWER = "addressing_mode"
"""An older nvidia-smi ends with an error when it is asked for this."""
UNKNOWN = frozenset({"", "N/A", "[N/A]", "[Not Supported]", "[Unknown Error]", "[GPU requires reset]"})
MIB = 1 << 20


def probe(host: Host, known: Sequence[Accelerator] = ()) -> list[Accelerator]:
    """Nothing when NVML told already, or when there is no nvidia-smi."""
    if any(device.source == "nvml" for device in known):
        return []
    try:
        return parse(_asked(host), memory_bytes(host.root))
    except ToolMissingError:
        return []
    except ToolFailedError as error:
        raise ProbeFailedError(error.problem("nvidia-smi")) from None


def _asked(host: Host) -> str:
    form = "--format=csv,noheader,nounits"
    try:
        return host.run("nvidia-smi", f"--query-gpu={','.join((*FIELDS, NEWER))}", form)
    except ToolFailedError:
        return host.run("nvidia-smi", f"--query-gpu={','.join(FIELDS)}", form)


def parse(said: str, memory_of_machine: int | None) -> list[Accelerator]:
    rows = csv.reader(said.splitlines(), skipinitialspace=True)
    return [_device([word.strip() for word in row], memory_of_machine) for row in rows if len(row) >= len(FIELDS)]


def _device(row: Sequence[str], memory_of_machine: int | None) -> Accelerator:
    told = {name: value for name, value in zip((*FIELDS, NEWER), row, strict=False) if value not in UNKNOWN}
    address = re.sub(r"^0000(?=[0-9a-f]{4}:)", "", told.get("pci.bus_id", "").lower())
    total = told.get("memory.total", "")
    unified = told.get(NEWER, "").upper() == "ATS" or not total
    details = {"compute_capability": told.get("compute_cap"), "mig_mode": told.get("mig.mode.current")}
    return Accelerator(
        id=told.get("uuid") or address,
        kind="gpu_cuda",
        display_name=told.get("name", "NVIDIA GPU"),
        memory_bytes=int(float(total) * MIB) if total else memory_of_machine if unified else None,
        driver_version=told.get("driver_version", ""),
        vendor="NVIDIA",
        pci_address=address,
        health=DeviceHealth.OK,
        unified_memory=unified,
        source="nvidia-smi",
        details={name: value for name, value in details.items() if value},
    )
