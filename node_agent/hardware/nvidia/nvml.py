"""NVML through nvidia-ml-py: what its errors mean, and fields that a device may lack.

Only for a child process: the library can hang or crash with the driver.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pynvml

from node_agent.domain.inventory import DeviceHealth
from node_agent.domain.status import Problem
from node_agent.hardware import complaints
from node_agent.hardware.host import Host

DRIVER = "Install the NVIDIA driver, or load it (nvidia-smi shows that it works); this node then finds the device."
LIBRARY = (
    "Install the driver's libraries; in a container, start it with the NVIDIA container toolkit (--gpus all), "
    "so that libnvidia-ml.so.1 is inside."
)
GROUP = "Let this agent's user open /dev/nvidia*; in a container, give it those devices."
WEDGED = "Stop what uses it and reset it, or restart the machine: its firmware may hang."
LIBRARY_TOO_OLD: type[Exception] = getattr(pynvml, "NVMLLibraryMismatchError", pynvml.NVMLError_FunctionNotFound)
VALUE_BLANK = 2**63
"""From here on a number of NVML means that there is none."""

# Says nothing about the device's health: it lacks the figure, hides it, or the driver is too old for it.
FIELD_UNKNOWN = frozenset(
    {
        pynvml.NVML_ERROR_INVALID_ARGUMENT,
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_NO_PERMISSION,
        pynvml.NVML_ERROR_NOT_FOUND,
        pynvml.NVML_ERROR_INSUFFICIENT_SIZE,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_IN_USE,
        pynvml.NVML_ERROR_NO_DATA,
        pynvml.NVML_ERROR_VGPU_ECC_NOT_SUPPORTED,
        pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
        pynvml.NVML_ERROR_DEPRECATED,
        pynvml.NVML_ERROR_NOT_READY,
        pynvml.NVML_ERROR_INVALID_STATE,
    }
)


@dataclass(frozen=True, slots=True)
class Meaning:
    health: DeviceHealth
    problem: Problem


def meaning(error: pynvml.NVMLError) -> Meaning:
    """Fail closed: an error that nothing explains makes the device unusable."""
    value = int(error.value)
    if value == pynvml.NVML_ERROR_CORRUPTED_INFOROM:
        text = "The GPU's info ROM is corrupted."
        return Meaning(DeviceHealth.DEGRADED, complaints.unhealthy(text, "Have it replaced when it can be missed."))
    return Meaning(DeviceHealth.UNUSABLE, _unusable(value, str(error)))


def _unusable(value: int, said: str) -> Problem:  # noqa: PLR0911 - one line an error
    match value:
        case pynvml.NVML_ERROR_DRIVER_NOT_LOADED | pynvml.NVML_ERROR_GPU_NOT_FOUND:
            return complaints.driver_missing("An NVIDIA GPU is present, and its driver is not loaded.", DRIVER)
        case pynvml.NVML_ERROR_LIBRARY_NOT_FOUND | pynvml.NVML_ERROR_FUNCTION_NOT_FOUND:
            text = "An NVIDIA GPU is present, and the driver's library libnvidia-ml.so.1 is missing or too old."
            return complaints.driver_missing(text, LIBRARY)
        case pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
            return complaints.mismatch("The NVIDIA driver's library and its kernel module are of different versions.")
        case pynvml.NVML_ERROR_NO_PERMISSION:
            return complaints.no_permission("The NVIDIA driver does not let this agent's user see the GPU.", GROUP)
        case pynvml.NVML_ERROR_OPERATING_SYSTEM:
            text = "The operating system or its cgroups keep this agent from the NVIDIA GPU."
            return complaints.no_permission(text, GROUP)
        case pynvml.NVML_ERROR_GPU_IS_LOST:
            return complaints.lost("The GPU fell off the bus; the driver has lost it.")
        case pynvml.NVML_ERROR_RESET_REQUIRED:
            return complaints.reset_required("The GPU asks for a reset before it computes again.")
        case pynvml.NVML_ERROR_TIMEOUT | pynvml.NVML_ERROR_IRQ_ISSUE:
            return complaints.unresponsive("NVML", f"says {said!r}")
        case _:
            return complaints.unhealthy(f"The NVIDIA driver fails with {said!r} (NVML error {value}).", WEDGED)


@dataclass(slots=True)
class Fields:
    """Reads fields of one device. None: unknown; what says something about its health is kept in `fault`."""

    handle: Any
    fault: Meaning | None = field(default=None)

    def __call__(self, function: str, *arguments: Any) -> Any:
        return self.read(getattr(pynvml, function, None), self.handle, *arguments)

    def read(self, call: Callable[..., Any] | None, *arguments: Any) -> Any:
        """A function that this nvidia-ml-py lacks is a field that is unknown."""
        if call is None:
            return None
        try:
            found = call(*arguments)
        except LIBRARY_TOO_OLD:
            return None
        except pynvml.NVMLError as error:
            if error.value not in FIELD_UNKNOWN:
                self.fault = self.fault or meaning(error)
            return None
        return None if isinstance(found, int) and found >= VALUE_BLANK else found

    def value(self, field_id: int) -> int | None:
        """One of NVML_FI_*, as an unsigned number."""
        found = self("nvmlDeviceGetFieldValues", [field_id])
        if found is None or found[0].nvmlReturn != pynvml.NVML_SUCCESS:
            return None
        return int(found[0].value.uiVal)


def start(host: Host) -> None:
    """NVMLError when there is no driver, or it does not want."""
    under_windows = host.root / "usr/lib/wsl/lib/libnvidia-ml.so.1"
    if under_windows.exists():
        ctypes.CDLL(str(under_windows), mode=ctypes.RTLD_GLOBAL)
    pynvml.nvmlInit()


def system(name: str, *arguments: Any) -> Any:
    """A field of the driver itself; None when it is unknown."""
    return Fields(None).read(getattr(pynvml, name, None), *arguments)
