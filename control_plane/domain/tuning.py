"""What a profile leaves to the hardware of the node, by fixed rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.model import Model
from control_plane.domain.node import NodeInventory
from control_plane.domain.profile import has_word
from control_plane.domain.runtime import EngineSettings, Runtime, RuntimeSpec

GB = 10**9
VLLM = "vllm"
FULL = 0.9
"""How much of a device's memory weights may take, so that all layers are put on it."""

Steps = Sequence[tuple[int, int]]
"""(from so many GB on, the value), the most first; the last one from 0 on."""
CONTEXT: Steps = ((64, 8192), (32, 4096), (16, 2048), (0, 1024))
"""By the machine's memory."""
VLLM_CONTEXT: Steps = ((128, 8192), (64, 4096), (0, 2048))
VLLM_DEVICE_CONTEXT: Steps = ((80, 32768), (48, 24576), (24, 16384), (16, 8192), (12, 6144), (0, 4096))
"""By the device's memory."""
LAYERS: Steps = ((80, 80), (48, 60), (24, 40), (16, 20), (12, 12), (0, 8))
"""Of a model that does not fit into the device's memory, by that memory."""


@dataclass(frozen=True, slots=True)
class Tuned:
    setting: str
    value: int
    why: str
    shared: bool = False
    """The profile's own word, in the node's figures."""


def tuned(spec: RuntimeSpec, model: Model | None, inventory: NodeInventory) -> EngineSettings:
    """What nobody says and the profile leaves to the node; nothing without a profile."""
    if spec.basis is None:
        return EngineSettings()
    chosen: dict[str, Any] = {each.setting: each.value for each in tunings(spec, model, inventory)}
    return EngineSettings(**chosen)


def tunings(spec: RuntimeSpec, model: Model | None, inventory: NodeInventory) -> Iterator[Tuned]:
    for each in (*_shared(spec, inventory), *_ruled(spec, model, inventory)):
        if getattr(spec.settings, each.setting) is None and has_word(spec.adapter, each.setting):
            yield each


def settings_of(runtime: Runtime) -> EngineSettings:
    """As its node is told them."""
    if runtime.tuned == EngineSettings():
        return runtime.spec.settings
    return filled(runtime.spec.settings, runtime.tuned)


def filled(settings: EngineSettings, more: EngineSettings) -> EngineSettings:
    """What is open there is as said in `more`."""
    names = EngineSettings.__slots__
    return replace(settings, **{name: getattr(more, name) for name in names if getattr(settings, name) is None})


def _shared(spec: RuntimeSpec, inventory: NodeInventory) -> Iterator[Tuned]:
    share = spec.basis.profile.threads_share if spec.basis is not None else None
    if share is not None and inventory.cpu_cores:
        why = f"{share} % of {inventory.cpu_cores} cores"
        yield Tuned("threads", max(1, inventory.cpu_cores * share // 100), why, shared=True)


def _ruled(spec: RuntimeSpec, model: Model | None, inventory: NodeInventory) -> Iterator[Tuned]:
    if spec.basis is None or not spec.basis.profile.tuning:
        return
    if inventory.cpu_cores and spec.basis.profile.threads_share is None:
        yield Tuned("threads", inventory.cpu_cores, f"{inventory.cpu_cores} cores")
    device = _device_bytes(spec, inventory)
    if device and spec.adapter == VLLM:
        yield _by_memory("context_length", VLLM_DEVICE_CONTEXT, device, "of device memory")
    elif inventory.memory_bytes:
        steps = VLLM_CONTEXT if spec.adapter == VLLM else CONTEXT
        yield _by_memory("context_length", steps, inventory.memory_bytes, "of memory")
    if device and model is not None and model.whole_size_bytes > FULL * device:
        yield _by_memory("gpu_layers", LAYERS, device, "of device memory hold not all of the model")


def _device_bytes(spec: RuntimeSpec, inventory: NodeInventory) -> int:
    """Of the largest device that it would use; 0: none, or it shares the machine's."""
    own = [each for each in inventory.accelerators if each.usable and not each.unified_memory]
    fitting = [each for each in own if spec.accelerator in (AcceleratorKind.UNSPECIFIED, each.kind)]
    return max((each.memory_bytes or 0 for each in fitting if each.kind is not AcceleratorKind.CPU), default=0)


def _by_memory(setting: str, steps: Steps, size: int, what: str) -> Tuned:
    value = next(value for least, value in steps if size >= least * GB)
    return Tuned(setting, value, f"{size / GB:.0f} GB {what}")
