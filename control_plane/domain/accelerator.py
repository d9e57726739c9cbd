from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
