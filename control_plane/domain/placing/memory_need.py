"""How much memory a runtime takes on a node: as measured, else by estimate."""

from __future__ import annotations

from dataclasses import dataclass

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.footprint import FootprintKey, measured, measured_on_device, options_of
from control_plane.domain.model import Model
from control_plane.domain.node_view import NodeView
from control_plane.domain.placing.device_choice import has_accelerator, own_memory
from control_plane.domain.runtime import EngineSettings, Runtime
from control_plane.domain.tuning import filled, tuned

SIZE_FACTOR = 1.1
"""Weights in memory over weights on disk: buffers and a small context, an estimate while nobody measured it."""


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes in the machine's own memory, and in that of its devices of the runtime's kind."""

    host: int = 0
    device: int = 0
    is_measured: bool = False

    def __add__(self, other: Need) -> Need:
        return Need(self.host + other.host, self.device + other.device)


def estimated(model: Model | None) -> int:
    """Bytes of a model in memory, by estimate; 0 for none."""
    return int(model.whole_size_bytes * SIZE_FACTOR) if model is not None else 0


def need_of(runtime: Runtime, model: Model | None, view: NodeView) -> Need:
    """What nobody measured is put where its weights go: all on the device, unless it is told how many layers."""
    if model is None:
        return Need()
    keys = _keys(runtime, model, view)
    on_device = own_memory(runtime, view) is not None and _settings(runtime, model, view).gpu_layers is None
    guess = Need(device=estimated(model)) if on_device else Need(estimated(model))
    host = measured(view.footprints, keys, view.node.id)
    if host is None:
        return guess
    device = measured_on_device(view.footprints, keys, view.node.id)
    return Need(host, guess.device if device is None else device, is_measured=True)


def _keys(runtime: Runtime, model: Model, view: NodeView) -> list[FootprintKey]:
    """Launches of the same file, engine, options and device."""
    if not view.footprints:
        return []
    engines = [engine.sha256 for engine in view.node.inventory.engines if engine.adapter == runtime.spec.adapter]
    options = options_of(_settings(runtime, model, view))
    return [FootprintKey(model.sha256, engine, options, kind) for engine in engines for kind in _kinds(runtime, view)]


def _settings(runtime: Runtime, model: Model, view: NodeView) -> EngineSettings:
    """As this node would be told them."""
    spec = runtime.spec
    return spec.settings if spec.basis is None else filled(spec.settings, tuned(spec, model, view.node.inventory))


def _kinds(runtime: Runtime, view: NodeView) -> set[AcceleratorKind]:
    wanted = runtime.spec.accelerator
    if has_accelerator(runtime, view):
        return {wanted}
    if wanted is AcceleratorKind.UNSPECIFIED:
        return {device.kind for device in view.node.inventory.accelerators if device.usable} | {AcceleratorKind.CPU}
    return {AcceleratorKind.CPU}
