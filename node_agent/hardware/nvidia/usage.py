"""What NVIDIA GPUs do now. The library stays open, so a round costs calls and no start-up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pynvml

from node_agent.domain.inventory import AcceleratorUsage, DeviceProcess
from node_agent.hardware.host import Host
from node_agent.hardware.nvidia import nvml
from node_agent.hardware.nvidia.gpm import StreamingMultiprocessors
from node_agent.hardware.nvidia.nvml import Fields
from node_agent.hardware.nvidia.probe import memory, mig_handles, pci_address, said
from node_agent.hardware.nvidia.throttling import throttle_reasons

GPU_SENSOR = 0
PROCESS_LISTS = ("ComputeRunningProcesses", "GraphicsRunningProcesses", "MPSComputeRunningProcesses")


@dataclass(frozen=True, slots=True)
class Figure:
    name: str
    call: str
    """Follows "nvmlDeviceGet"."""
    arguments: tuple[int, ...] = ()
    of: Callable[[Any], Any] = float


def first(pair: Any) -> Any:
    return pair[0]


FIGURES = (
    Figure("memory_bandwidth_percent", "UtilizationRates", of=lambda rates: rates.memory),
    Figure("encoder_percent", "EncoderUtilization", of=first),
    Figure("decoder_percent", "DecoderUtilization", of=first),
    Figure("temperature_margin_celsius", "MarginTemperature"),
    Figure("energy_millijoules", "TotalEnergyConsumption"),
    Figure("performance_state", "PerformanceState"),
    Figure("graphics_clock_mhz", "ClockInfo", (0,)),
    Figure("sm_clock_mhz", "ClockInfo", (1,)),
    Figure("memory_clock_mhz", "ClockInfo", (2,)),
    Figure("ecc_corrected_errors", "TotalEccErrors", (0, 0)),
    Figure("ecc_uncorrected_errors", "TotalEccErrors", (1, 0)),
    Figure("ecc_corrected_errors_lifetime", "TotalEccErrors", (0, 1)),
    Figure("ecc_uncorrected_errors_lifetime", "TotalEccErrors", (1, 1)),
    Figure("remapped_rows_corrected", "RemappedRows", of=first),
    Figure("remapped_rows_uncorrected", "RemappedRows", of=lambda rows: rows[1]),
    Figure("retired_pages_single_bit", "RetiredPages", (0,), len),
    Figure("retired_pages_double_bit", "RetiredPages", (1,), len),
    Figure("pcie_link_generation", "CurrPcieLinkGeneration"),
    Figure("pcie_link_width", "CurrPcieLinkWidth"),
    Figure("pcie_transmit_kilobytes_per_second", "PcieThroughput", (0,)),
    Figure("pcie_receive_kilobytes_per_second", "PcieThroughput", (1,)),
    Figure("bar1_memory_used_bytes", "BAR1MemoryInfo", of=lambda bar1: bar1.bar1Used),
)


class NvidiaUsage:
    """NVMLError when the driver goes away as a whole; a device that is lost is left out."""

    def __init__(self, host: Host) -> None:
        nvml.start(host)
        self._multiprocessors = StreamingMultiprocessors()
        self.troubled: frozenset[str] = frozenset()
        """Devices that failed in the last round, by index, id and what the driver said: a change is worth a look."""

    def read(self) -> list[AcceleratorUsage]:
        troubles: set[str] = set()
        usages = list(self._usages(troubles))
        self.troubled = frozenset(troubles)
        return usages

    def _usages(self, troubles: set[str]) -> Iterator[AcceleratorUsage]:
        for index in range(int(pynvml.nvmlDeviceGetCount())):
            found = Fields(None)
            handle = found.read(pynvml.nvmlDeviceGetHandleByIndex, index)
            if handle is None:
                troubles.add(f"{index} {found.fault and found.fault.problem.reason}")
                continue
            yield self._of(handle, troubles)
            for part in mig_handles(handle):
                yield self._of(part, troubles, whole=handle)

    def _of(self, handle: Any, troubles: set[str], whole: Any = None) -> AcceleratorUsage:
        fields = Fields(handle)
        id_ = said(fields("nvmlDeviceGetUUID")) or pci_address(handle)
        held, rates = memory(fields), fields("nvmlDeviceGetUtilizationRates")
        busy = self._multiprocessors.percent(id_, handle, whole)
        usage = AcceleratorUsage(
            id=id_,
            memory_total_bytes=held and int(held.total),
            memory_used_bytes=held and int(held.used),
            utilization_percent=float(rates.gpu) if rates else busy,
            temperature_celsius=fields("nvmlDeviceGetTemperatureV", GPU_SENSOR)
            or fields("nvmlDeviceGetTemperature", GPU_SENSOR),
            power_milliwatts=fields("nvmlDeviceGetPowerUsage"),
            power_limit_milliwatts=fields("nvmlDeviceGetEnforcedPowerLimit"),
            throttle_reasons=throttle_reasons(fields),
            processes=_processes(fields),
            figures=dict(_figures(fields, held, busy)),
        )
        if fields.fault is not None:
            troubles.add(f"{id_} {fields.fault.problem.reason}")
        return usage


def _figures(fields: Fields, held: Any, busy: float | None) -> Iterator[tuple[str, float]]:
    for figure in FIGURES:
        value = fields(f"nvmlDeviceGet{figure.call}", *figure.arguments)
        if value is not None:
            yield figure.name, float(figure.of(value))
    hottest = fields.value(pynvml.NVML_FI_DEV_MEMORY_TEMP)
    links = [fields("nvmlDeviceGetNvLinkState", link) for link in range(pynvml.NVML_NVLINK_MAX_LINKS)]
    found = {
        "memory_reserved_bytes": getattr(held, "reserved", None),
        "memory_free_bytes": held and held.free,
        "memory_temperature_celsius": hottest,
        "nvlink_active_links": sum(link for link in links if link) if any(x is not None for x in links) else None,
        "multiprocessors_percent": busy,
    }
    yield from ((name, float(value)) for name, value in found.items() if value is not None)


def _processes(fields: Fields) -> tuple[DeviceProcess, ...]:
    """Each process once, with the most that one of the lists says it holds."""
    found: dict[int, int | None] = {}
    for kind in PROCESS_LISTS:
        running = fields(f"nvmlDeviceGet{kind}")
        if running is None:
            running = fields(f"nvmlDeviceGet{kind}_v2")
        for process in running or ():
            held = found.get(process.pid)
            known = [size for size in (held, process.usedGpuMemory) if size is not None]
            found[process.pid] = max(known, default=None)
    return tuple(DeviceProcess(pid, size) for pid, size in sorted(found.items()))
