"""Which of a node's devices a runtime would use."""

from __future__ import annotations

from collections.abc import Sequence

from control_plane.domain.accelerator import Accelerator, AcceleratorKind
from control_plane.domain.node_view import NodeView
from control_plane.domain.runtime import Runtime

NO_DEVICE = (AcceleratorKind.UNSPECIFIED, AcceleratorKind.CPU)


def has_accelerator(runtime: Runtime, view: NodeView) -> bool:
    """One that works, and that an engine of its adapter can use as far as it says."""
    return bool(_working(runtime, view)) and _is_seen(runtime, view)


def own_memory(runtime: Runtime, view: NodeView) -> int | None:
    """Bytes that the devices which it would use have for themselves; None: it uses none, or they do not say."""
    devices = _working(runtime, view) if _is_seen(runtime, view) else ()
    whole = {device.partition_of for device in devices}
    parts = [device for device in devices if device.id not in whole]
    if not parts or any(device.unified_memory for device in parts):
        return None
    sizes = [device.memory_bytes for device in parts if device.memory_bytes is not None]
    return sum(sizes) if len(sizes) == len(parts) else None


def _working(runtime: Runtime, view: NodeView) -> Sequence[Accelerator]:
    wanted = runtime.spec.accelerator
    if wanted in NO_DEVICE:
        return ()
    return [device for device in view.node.inventory.accelerators if device.kind is wanted and device.usable]


def _is_seen(runtime: Runtime, view: NodeView) -> bool:
    engines = [engine for engine in view.node.inventory.engines if engine.adapter == runtime.spec.adapter]
    return not engines or any(engine.can_use(runtime.spec.accelerator) for engine in engines)
