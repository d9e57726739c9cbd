"""What stays true of an NVIDIA GPU, field by field. Serial numbers are left out: they identify a machine's owner."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from node_agent.hardware.nvidia.nvml import Fields

ARCHITECTURES = {
    2: "Kepler",
    3: "Maxwell",
    4: "Pascal",
    5: "Volta",
    6: "Turing",
    7: "Ampere",
    8: "Ada",
    9: "Hopper",
    10: "Blackwell",
    13: "Rubin",
}
BRANDS = {
    1: "Quadro",
    2: "Tesla",
    3: "NVS",
    5: "GeForce",
    6: "Titan",
    12: "Quadro RTX",
    13: "NVIDIA RTX",
    14: "NVIDIA",
    16: "Titan RTX",
}
COMPUTE_MODES = {0: "default", 1: "exclusive_thread", 2: "prohibited", 3: "exclusive_process"}
ADDRESSING_MODES = {0: "none", 1: "hmm", 2: "ats"}
SWITCH = {0: "off", 1: "on"}


def plain(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def named(names: Mapping[int, str]) -> Callable[[Any], str]:
    return lambda value: names.get(int(value), str(value))


def current(names: Mapping[int, str]) -> Callable[[Any], str]:
    """Of a pair (current, pending); the pending one is told when it differs."""

    def told(pair: Any) -> str:
        now, then = (names.get(int(value), str(value)) for value in pair)
        return now if now == then else f"{now}, {then} after a reset"

    return told


@dataclass(frozen=True, slots=True)
class Fact:
    name: str
    call: str
    """Follows "nvmlDeviceGet"."""
    arguments: tuple[int, ...] = ()
    say: Callable[[Any], str] = plain


FACTS = (
    Fact("compute_capability", "CudaComputeCapability", say=lambda pair: f"{pair[0]}.{pair[1]}"),
    Fact("architecture", "Architecture", say=named(ARCHITECTURES)),
    Fact("brand", "Brand", say=named(BRANDS)),
    Fact("cuda_cores", "NumGpuCores"),
    Fact("minor_number", "MinorNumber"),
    Fact("vbios_version", "VbiosVersion"),
    Fact("board_part_number", "BoardPartNumber"),
    Fact("compute_mode", "ComputeMode", say=named(COMPUTE_MODES)),
    Fact("persistence_mode", "PersistenceMode", say=named(SWITCH)),
    Fact("addressing_mode", "AddressingMode", say=named(ADDRESSING_MODES)),
    Fact("ecc_mode", "EccMode", say=current(SWITCH)),
    Fact("mig_mode", "MigMode", say=current(SWITCH)),
    Fact("mig_max_devices", "MaxMigDeviceCount"),
    Fact("temperature_shutdown_celsius", "TemperatureThreshold", (0,)),
    Fact("temperature_slowdown_celsius", "TemperatureThreshold", (1,)),
    Fact("temperature_gpu_max_celsius", "TemperatureThreshold", (3,)),
    Fact("power_default_limit_milliwatts", "PowerManagementDefaultLimit"),
    Fact("graphics_clock_max_mhz", "MaxClockInfo", (0,)),
    Fact("sm_clock_max_mhz", "MaxClockInfo", (1,)),
    Fact("memory_clock_max_mhz", "MaxClockInfo", (2,)),
    Fact("pcie_link_generation_max", "MaxPcieLinkGeneration"),
    Fact("pcie_link_width_max", "MaxPcieLinkWidth"),
)


def details(fields: Fields) -> dict[str, str]:
    """Only what this device and driver tell."""
    return dict(_told(fields))


def _told(fields: Fields) -> Iterator[tuple[str, str]]:
    for fact in FACTS:
        value = fields(f"nvmlDeviceGet{fact.call}", *fact.arguments)
        if value is not None:
            yield fact.name, fact.say(value)
    pci = fields("nvmlDeviceGetPciInfo")
    if pci is not None:
        device = f"{pci.pciDeviceId:08x}"
        yield "pci_id", f"{device[4:]}:{device[:4]}"
    bar1 = fields("nvmlDeviceGetBAR1MemoryInfo")
    if bar1 is not None:
        yield "bar1_memory_bytes", str(bar1.bar1Total)
