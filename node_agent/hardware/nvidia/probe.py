"""NVIDIA GPUs and their MIG devices, as NVML tells of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pynvml

from node_agent.domain.inventory import Accelerator, DeviceHealth
from node_agent.domain.status import Problem
from node_agent.hardware.host import Host
from node_agent.hardware.nvidia import nvml
from node_agent.hardware.nvidia.details import details
from node_agent.hardware.nvidia.health import health
from node_agent.hardware.nvidia.nvml import Fields
from node_agent.hardware.processor.probe import memory_bytes
from node_agent.hardware.report import ProbeFailedError

ATS = 2
"""Addressing mode of a GPU that computes in the machine's own memory."""
NO_GPU_HERE = frozenset(
    {pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED, pynvml.NVML_ERROR_GPU_NOT_FOUND}
)


@dataclass(frozen=True, slots=True)
class Driver:
    version: str
    cuda: str
    branch: str


def probe(host: Host, _known: Sequence[Accelerator] = ()) -> list[Accelerator]:
    """ProbeFailedError when the driver does not answer, or answers for some devices only."""
    try:
        nvml.start(host)
        count = int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError as error:
        raise ProbeFailedError(nvml.meaning(error).problem, quiet=error.value in NO_GPU_HERE) from None
    driver, found, failed = _driver(), list[Accelerator](), list[Problem]()
    for index in range(count):
        try:
            found += _devices(pynvml.nvmlDeviceGetHandleByIndex(index), driver, host)
        except pynvml.NVMLError as error:
            failed.append(nvml.meaning(error).problem)
    if failed:
        raise ProbeFailedError(failed[0], found)
    return found


def pci_address(handle: Any) -> str:
    """As sysfs writes it: NVML gives the domain eight digits, Linux four where they are enough."""
    told = Fields(handle)("nvmlDeviceGetPciInfo")
    if told is None:
        return ""
    domain, _, rest = said(told.busId).lower().partition(":")
    return f"{domain[-4:] if domain.startswith('0000') else domain}:{rest}"


def said(value: str | bytes | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


def mig_handles(handle: Any) -> Iterator[Any]:
    """Of the partitions that exist; empty slots are left out."""
    fields = Fields(handle)
    mode = fields("nvmlDeviceGetMigMode")
    if not mode or not mode[0]:
        return
    for slot in range(fields("nvmlDeviceGetMaxMigDeviceCount") or 0):
        part = fields("nvmlDeviceGetMigDeviceHandleByIndex", slot)
        if part is not None:
            yield part


def memory(fields: Fields) -> Any:
    """`total`, `used`, `free` and, where the driver tells them apart, `reserved`, in bytes; None on unified memory."""
    return fields("nvmlDeviceGetMemoryInfo", pynvml.nvmlMemory_v2) or fields("nvmlDeviceGetMemoryInfo")


def _driver() -> Driver:
    number = nvml.system("nvmlSystemGetCudaDriverVersion_v2")
    branch = nvml.system("nvmlSystemGetDriverBranch")
    return Driver(
        said(nvml.system("nvmlSystemGetDriverVersion")),
        f"{number // 1000}.{number % 1000 // 10}" if number else "",
        said(branch.branch) if branch else "",
    )


def _devices(handle: Any, driver: Driver, host: Host) -> Iterator[Accelerator]:
    whole = _device(handle, driver, host)
    yield whole
    for part in mig_handles(handle):
        fields = Fields(part)
        uuid, total = said(fields("nvmlDeviceGetUUID")), memory(fields)
        if uuid:
            yield Accelerator(
                id=uuid,
                kind="gpu_cuda",
                display_name=said(fields("nvmlDeviceGetName")) or f"{whole.display_name} MIG",
                memory_bytes=int(total.total) if total else None,
                driver_version=driver.version,
                vendor="NVIDIA",
                health=whole.health,
                problem=whole.problem,
                partition_of=whole.id,
                source="nvml",
                details=_placed(fields),
            )


def _placed(fields: Fields) -> dict[str, str]:
    """Where a partition sits; its PCI address is that of the whole GPU, so it is not repeated."""
    found = {name: fields(f"nvmlDeviceGet{call}") for name, call in PLACES}
    return {name: str(value) for name, value in found.items() if value is not None}


PLACES = (("gpu_instance_id", "GpuInstanceId"), ("compute_instance_id", "ComputeInstanceId"))


def _device(handle: Any, driver: Driver, host: Host) -> Accelerator:
    fields = Fields(handle)
    address = pci_address(handle)
    uuid = said(fields("nvmlDeviceGetUUID"))
    total = memory(fields)
    known = details(fields) | {name: value for name, value in _of_driver(driver) if value}
    unified = total is None or fields("nvmlDeviceGetAddressingMode") == ATS
    state, problem = health(fields)
    return Accelerator(
        id=uuid or address or f"nvidia{fields('nvmlDeviceGetMinorNumber')}",
        kind="gpu_cuda",
        display_name=said(fields("nvmlDeviceGetName")) or "NVIDIA GPU",
        memory_bytes=int(total.total) if total else memory_bytes(host.root) if unified else None,
        driver_version=driver.version,
        vendor="NVIDIA",
        pci_address=address,
        health=state if problem else DeviceHealth.OK,
        problem=problem,
        unified_memory=unified,
        source="nvml",
        details=known,
    )


def _of_driver(driver: Driver) -> Iterator[tuple[str, str]]:
    yield "cuda_version", driver.cuda
    yield "driver_branch", driver.branch
