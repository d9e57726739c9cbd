"""The amdsmi library's own words for a device. Its module is handed in, so that a fake can stand in for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from node_agent.domain.inventory import Accelerator, DeviceHealth
from node_agent.domain.status import Problem
from node_agent.hardware import complaints
from node_agent.hardware.host import ToolFailedError

MIB = 1 << 20
NOT_SUPPORTED, LOAD_FAILED, TIMEOUT, NO_PERMISSION, BUSY, DRIVER_NOT_LOADED, RESTART_FAILED = 2, 4, 8, 10, 30, 34, 54


def probe(amdsmi: Any) -> list[Accelerator]:
    """ToolFailedError when the library does not start."""
    try:
        amdsmi.amdsmi_init()
        handles = amdsmi.amdsmi_get_processor_handles()
    except amdsmi.AmdSmiException as error:
        raise ToolFailedError(str(error)) from None
    try:
        return [_device(amdsmi, handle) for handle in handles]
    finally:
        amdsmi.amdsmi_shut_down()


def meaning(status: int) -> tuple[DeviceHealth, Problem] | None:
    """None: the status says nothing of the device's health."""
    match status:
        case code if code == NO_PERMISSION:
            text = "The AMD driver does not let this agent's user see the GPU."
            remedy = "Add the user to the groups render and video, and start the agent again."
            return DeviceHealth.UNUSABLE, complaints.no_permission(text, remedy)
        case code if code in {DRIVER_NOT_LOADED, LOAD_FAILED}:
            text = "An AMD GPU is present, and its driver is not loaded."
            return DeviceHealth.UNUSABLE, complaints.driver_missing(text, "Load the amdgpu kernel module.")
        case code if code == TIMEOUT:
            return DeviceHealth.UNUSABLE, complaints.unresponsive("amdsmi", "timed out")
        case code if code == RESTART_FAILED:
            text = "The AMD driver could not restart the GPU."
            return DeviceHealth.UNUSABLE, complaints.reset_required(text)
        case _:
            return None


class _Fields:
    """Reads fields of one device, each by itself; "N/A" and errors are unknown."""

    def __init__(self, amdsmi: Any, handle: Any) -> None:
        self._amdsmi = amdsmi
        self._handle = handle
        self.fault: tuple[DeviceHealth, Problem] | None = None

    def __call__(self, name: str) -> Any:
        call: Callable[..., Any] | None = getattr(self._amdsmi, name, None)
        if call is None:
            return None
        try:
            found = call(self._handle)
        except self._amdsmi.AmdSmiLibraryException as error:
            self.fault = self.fault or meaning(int(error.get_error_code()))
            return None
        return None if found in ("N/A", "") else found


def _device(amdsmi: Any, handle: Any) -> Accelerator:
    fields = _Fields(amdsmi, handle)
    address = str(fields("amdsmi_get_gpu_device_bdf") or "").lower()
    chip = fields("amdsmi_get_gpu_asic_info") or {}
    memory = fields("amdsmi_get_gpu_vram_usage") or {}
    driver = fields("amdsmi_get_gpu_driver_info") or {}
    errors = fields("amdsmi_get_gpu_total_ecc_count") or {}
    health, problem = fields.fault or _of_memory(errors.get("uncorrectable_count"))
    known = {
        "uuid": fields("amdsmi_get_gpu_device_uuid"),
        "compute_capability": chip.get("target_graphics_version"),
        "compute_units": chip.get("num_compute_units"),
    }
    return Accelerator(
        id=address,
        kind="gpu_rocm",
        display_name=str(chip.get("market_name") or ""),
        memory_bytes=memory["vram_total"] * MIB if isinstance(memory.get("vram_total"), int) else None,
        driver_version=str(driver.get("driver_version") or ""),
        vendor="AMD",
        pci_address=address,
        health=health,
        problem=problem,
        source="amdsmi",
        details={name: str(value) for name, value in known.items() if value not in (None, "N/A", "")},
    )


def _of_memory(uncorrected: object) -> tuple[DeviceHealth, Problem | None]:
    if not isinstance(uncorrected, int) or not uncorrected:
        return DeviceHealth.OK, None
    text = f"The GPU's memory had {uncorrected} uncorrected errors since the driver was loaded."
    return DeviceHealth.DEGRADED, complaints.unhealthy(text, "Drain this node's runtimes and restart the machine.")
