"""Whether an NVIDIA GPU can compute, from everything that NVML says of its health. Fail closed."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pynvml

from node_agent.domain.inventory import DeviceHealth
from node_agent.domain.status import Problem
from node_agent.hardware import complaints
from node_agent.hardware.nvidia.nvml import Fields, Meaning

PROHIBITED = 2
UNCORRECTED, VOLATILE = 1, 0
FABRIC_NOT_STARTED, FABRIC_IN_PROGRESS = 1, 2
RECOVERY_ACTION = pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION
RESET_STATUS = pynvml.NVML_FI_DEV_RESET_STATUS
DRAIN = "Drain this node's runtimes, then reset the GPU (nvidia-smi --gpu-reset) or restart the machine."
REPLACE = "Have the GPU replaced."
# NVML_GPU_RECOVERY_ACTION_*
RECOVERY = {
    1: (DeviceHealth.UNUSABLE, complaints.reset_required("The driver asks for a reset of the GPU.")),
    2: (DeviceHealth.UNUSABLE, complaints.lost("The driver asks for a restart of the machine.")),
    3: (DeviceHealth.DEGRADED, complaints.unhealthy("The driver asks that peer traffic of the GPU be drained.", DRAIN)),
    4: (DeviceHealth.DEGRADED, complaints.unhealthy("The driver asks that the GPU be drained and reset.", DRAIN)),
    5: (DeviceHealth.DEGRADED, complaints.unhealthy("The driver asks for a recovery of the IMEX domain.", DRAIN)),
    6: (DeviceHealth.UNUSABLE, complaints.reset_required("The driver asks for a bus reset of the GPU.")),
    7: (DeviceHealth.UNUSABLE, complaints.lost("The driver asks for a restart of the machine.")),
}


def health(fields: Fields) -> tuple[DeviceHealth, Problem | None]:
    """The worst finding; OK without any."""
    findings = list(_findings(fields))
    if fields.fault is not None:
        findings.append(fields.fault)
    if not findings:
        return DeviceHealth.OK, None
    worst = next((found for found in findings if found.health is DeviceHealth.UNUSABLE), findings[0])
    return worst.health, worst.problem


def _findings(fields: Fields) -> Iterator[Meaning]:
    yield from _recovery(fields)
    if fields("nvmlDeviceGetComputeMode") == PROHIBITED:
        remedy = "Allow it again with nvidia-smi --compute-mode=DEFAULT."
        text = "The GPU's compute mode prohibits computing."
        yield Meaning(DeviceHealth.UNUSABLE, complaints.reserved(text, remedy))
    yield from _fabric(fields)
    yield from _memory(fields)


def _recovery(fields: Fields) -> Iterator[Meaning]:
    """GSP failures leave the error counters at zero, hence these."""
    action = fields.value(RECOVERY_ACTION)
    if action in RECOVERY:
        yield Meaning(*RECOVERY[action])
    elif action is None and fields.value(RESET_STATUS):
        yield Meaning(*RECOVERY[1])


def _fabric(fields: Fields) -> Iterator[Meaning]:
    info = pynvml.c_nvmlGpuFabricInfoV_t() if hasattr(pynvml, "c_nvmlGpuFabricInfoV_t") else None
    if info is None or fields("nvmlDeviceGetGpuFabricInfoV", ctypes.byref(info)) is None:
        return
    if info.state in {FABRIC_NOT_STARTED, FABRIC_IN_PROGRESS}:
        text = "The GPU has not joined its NVLink fabric, and CUDA does not start before it has."
        remedy = "Start nvidia-fabricmanager on this node and see its log."
        yield Meaning(DeviceHealth.UNUSABLE, complaints.unhealthy(text, remedy))


def _memory(fields: Fields) -> Iterator[Meaning]:
    uncorrected = fields("nvmlDeviceGetTotalEccErrors", UNCORRECTED, VOLATILE)
    if uncorrected:
        text = f"The GPU's memory had {uncorrected} uncorrected errors since the driver was loaded."
        yield Meaning(DeviceHealth.DEGRADED, complaints.unhealthy(text, DRAIN))
    rows = fields("nvmlDeviceGetRemappedRows")
    if rows and rows[3]:
        text = "The GPU failed to replace a broken row of its memory."
        yield Meaning(DeviceHealth.DEGRADED, complaints.unhealthy(text, REPLACE))
    elif rows and rows[2]:
        text = "The GPU replaces a broken row of its memory at its next reset."
        yield Meaning(DeviceHealth.DEGRADED, complaints.unhealthy(text, DRAIN))
    if fields("nvmlDeviceGetRetiredPagesPendingStatus"):
        text = "The GPU retires broken pages of its memory at its next reset."
        yield Meaning(DeviceHealth.DEGRADED, complaints.unhealthy(text, DRAIN))
