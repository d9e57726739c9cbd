"""Words and settings that manifests and profiles share."""

from __future__ import annotations

from typing import TypeVar

from msgspec import UNSET, UnsetType

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.runtime import EngineSettings
from control_plane.manifests.shapes import ProfileSettings, Settings

T = TypeVar("T")

ACCELERATORS = {kind.value: kind for kind in AcceleratorKind if kind.value} | {
    "cuda": AcceleratorKind.GPU_CUDA,
    "rocm": AcceleratorKind.GPU_ROCM,
    "metal": AcceleratorKind.GPU_METAL,
    "vulkan": AcceleratorKind.GPU_VULKAN,
    "directml": AcceleratorKind.NPU_DIRECTML,
    "coreml": AcceleratorKind.NPU_COREML,
    "npu": AcceleratorKind.NPU_OTHER,
}


def settings_of(given: Settings | ProfileSettings) -> EngineSettings:
    """What a profile cannot say is left open."""
    said = {name: or_none(getattr(given, name, UNSET)) for name in EngineSettings.__slots__}
    # No prompts at all are as good as nothing said.
    return EngineSettings(**said | {"warm_up_prompts": said["warm_up_prompts"] or None})


def or_none(value: T | UnsetType) -> T | None:
    return None if isinstance(value, UnsetType) else value
