"""GPUs and NPUs of a Windows machine, from the registry and the list of devices, by PowerShell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from node_agent.domain.inventory import Accelerator, DeviceHealth
from node_agent.domain.status import Problem
from node_agent.hardware import complaints
from node_agent.hardware.host import Host, ToolFailedError, ToolMissingError
from node_agent.hardware.report import ProbeFailedError
from node_agent.hardware.tool_json import objects_in

DISPLAY_CLASS = r"HKLM:\SYSTEM\CurrentControlSet\Control\Class\{4d36e968-e325-11ce-bfc1-08002be10318}\0*"
# AdapterRAM of Win32_VideoController has 32 bits and ends at 4 GB; the registry has all of them.
GPUS = (
    f"ConvertTo-Json -InputObject @(Get-ItemProperty '{DISPLAY_CLASS}' -ErrorAction SilentlyContinue | "
    "Select-Object DriverDesc,DriverVersion,MatchingDeviceId,"
    "@{n='MemoryBytes';e={$_.'HardwareInformation.qwMemorySize'}})"
)
NPUS = (
    "ConvertTo-Json -InputObject @(Get-PnpDevice -Class ComputeAccelerator -PresentOnly -ErrorAction SilentlyContinue"
    " | Select-Object FriendlyName,InstanceId,Manufacturer,Status)"
)
VENDORS = {"ven_10de": ("NVIDIA", "gpu_cuda"), "ven_1002": ("AMD", "gpu_vulkan"), "ven_8086": ("Intel", "gpu_vulkan")}
SOFTWARE = ("Microsoft Basic", "Remote Display", "Hyper-V")


def probe(host: Host, known: Sequence[Accelerator] = ()) -> list[Accelerator]:
    if host.system != "windows":
        return []
    try:
        found = [*parse_gpus(_asked(host, GPUS)), *parse_npus(_asked(host, NPUS))]
    except (ToolFailedError, ToolMissingError) as error:
        raise ProbeFailedError(complaints.unresponsive("PowerShell", f"failed ({error})")) from None
    driven = any(device.source == "nvml" for device in known)
    return [device for device in found if not (driven and device.vendor == "NVIDIA")]


def _asked(host: Host, command: str) -> str:
    return host.run("powershell", "-NoProfile", "-NonInteractive", "-Command", command)


def parse_gpus(said: str) -> list[Accelerator]:
    cards = objects_in(said)
    return [_gpu(card) for card in cards if card.get("DriverDesc") and not card["DriverDesc"].startswith(SOFTWARE)]


def parse_npus(said: str) -> list[Accelerator]:
    return [_npu(device) for device in objects_in(said)]


def _gpu(card: Mapping[str, Any]) -> Accelerator:
    place = str(card.get("MatchingDeviceId", "")).lower()
    vendor, kind = next((known for mark, known in VENDORS.items() if mark in place), ("", "other"))
    memory = card.get("MemoryBytes")
    return Accelerator(
        id=place or str(card["DriverDesc"]),
        kind=kind,
        display_name=str(card["DriverDesc"]),
        memory_bytes=memory if isinstance(memory, int) and memory else None,
        driver_version=str(card.get("DriverVersion", "")),
        vendor=vendor,
        source="registry",
    )


def _npu(device: Mapping[str, Any]) -> Accelerator:
    status = str(device.get("Status", ""))
    problem: Problem | None = None
    if status != "OK":
        text = f"Windows says {status!r} of the NPU {device.get('FriendlyName')}."
        problem = complaints.driver_missing(text, "Install its driver from the maker's site.")
    return Accelerator(
        id=str(device.get("InstanceId", "")).lower(),
        kind="npu_directml",
        display_name=str(device.get("FriendlyName", "")),
        vendor=str(device.get("Manufacturer", "")),
        health=DeviceHealth.UNUSABLE if problem else DeviceHealth.OK,
        problem=problem,
        unified_memory=True,
        source="pnp",
    )
