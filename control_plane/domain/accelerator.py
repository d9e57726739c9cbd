from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from control_plane.domain.problem import Problem


class AcceleratorKind(StrEnum):
    """Slugs are the wire and display form of arw.v1.AcceleratorKind."""

    UNSPECIFIED = ""
    CPU = "cpu"
    GPU_CUDA = "gpu_cuda"
    GPU_ROCM = "gpu_rocm"
    GPU_METAL = "gpu_metal"
    GPU_VULKAN = "gpu_vulkan"
    NPU_DIRECTML = "npu_directml"
    NPU_COREML = "npu_coreml"
    NPU_OTHER = "npu_other"
    OTHER = "other"

    @property
    def label(self) -> str:
        return _LABELS[self]


_LABELS = {
    AcceleratorKind.UNSPECIFIED: "Unspecified",
    AcceleratorKind.CPU: "CPU",
    AcceleratorKind.GPU_CUDA: "GPU (CUDA)",
    AcceleratorKind.GPU_ROCM: "GPU (ROCm)",
    AcceleratorKind.GPU_METAL: "GPU (Metal)",
    AcceleratorKind.GPU_VULKAN: "GPU (Vulkan)",
    AcceleratorKind.NPU_DIRECTML: "NPU (DirectML)",
    AcceleratorKind.NPU_COREML: "NPU (CoreML)",
    AcceleratorKind.NPU_OTHER: "NPU",
    AcceleratorKind.OTHER: "Other",
}


class DeviceHealth(StrEnum):
    """Slugs of arw.v1.AcceleratorHealth."""

    UNKNOWN = ""
    OK = "ok"
    DEGRADED = "degraded"
    UNUSABLE = "unusable"

    @property
    def label(self) -> str:
        return self.value.capitalize() or "Unknown"


@dataclass(frozen=True, slots=True)
class Accelerator:
    id: str
    """UUID or PCI address; "cpu" for the processor."""
    kind: AcceleratorKind
    display_name: str = ""
    memory_bytes: int | None = None
    """None: the probe could not learn it."""
    driver_version: str = ""
    simulated: bool = False
    vendor: str = ""
    pci_address: str = ""
    health: DeviceHealth = DeviceHealth.UNKNOWN
    problem: Problem | None = None
    """Why it is degraded or unusable."""
    unified_memory: bool = False
    partition_of: str = ""
    """Id of the device that it is a part of."""
    source: str = ""
    details: dict[str, str] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        return self.health is not DeviceHealth.UNUSABLE


@dataclass(frozen=True, slots=True)
class DeviceProcess:
    pid: int
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class AcceleratorUsage:
    """What one device does now; None is unknown, which is not zero."""

    id: str
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    utilization_percent: float | None = None
    temperature_celsius: float | None = None
    power_milliwatts: int | None = None
    power_limit_milliwatts: int | None = None
    throttle_reasons: tuple[str, ...] = ()
    processes: tuple[DeviceProcess, ...] = ()
    last_xid: int | None = None
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeUsage:
    accelerators: tuple[AcceleratorUsage, ...]
    update_time: datetime
    """When the control plane heard it."""
    battery_percent: float | None = None
    on_battery: bool | None = None
