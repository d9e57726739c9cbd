"""Why a node would not do for a runtime."""

from __future__ import annotations

from collections.abc import Iterator

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.execution_objections import of_execution
from control_plane.domain.footprint import FootprintKey, measured, options_of
from control_plane.domain.ids import resource_name
from control_plane.domain.labels import unmatched
from control_plane.domain.model import Model
from control_plane.domain.node import Standing
from control_plane.domain.node_view import NodeView
from control_plane.domain.owner_objections import of_owner
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import EXTERNAL, NO_MODEL, MissingAccelerator, Runtime

SIZE_FACTOR = 1.1
"""Weights in memory over weights on disk: buffers and a small context, an estimate while nobody measured it."""

_NO_DEVICE = (AcceleratorKind.UNSPECIFIED, AcceleratorKind.CPU)


def keeps(runtime: Runtime, view: NodeView) -> bool:
    """Whether what is placed here stays: silence, a cordon or quarantine move nothing; a person's word does."""
    known = view.node.standing in (Standing.ADMITTED, Standing.QUARANTINED)
    return known and not unmatched(runtime.spec.node_selector, view.node.labels)


def has_accelerator(runtime: Runtime, view: NodeView) -> bool:
    """One that works, and that an engine of its adapter can use as far as it says."""
    wanted, inventory = runtime.spec.accelerator, view.node.inventory
    return (
        wanted not in _NO_DEVICE
        and any(device.kind is wanted and device.usable for device in inventory.accelerators)
        and _is_seen(runtime, view)
    )


def _is_seen(runtime: Runtime, view: NodeView) -> bool:
    engines = [engine for engine in view.node.inventory.engines if engine.adapter == runtime.spec.adapter]
    return not engines or any(engine.can_use(runtime.spec.accelerator) for engine in engines)


def objections(runtime: Runtime, model: Model | None, view: NodeView) -> Iterator[Problem]:
    """Every reason against putting `runtime` on this node; none: it fits."""
    yield from _of_node(view)
    yield from _of_labels(runtime, view)
    if view.node.session_epoch:
        yield from _of_engine(runtime, view)
        yield from of_execution(runtime, view)
        yield from _of_accelerator(runtime, view)
        yield from _of_memory(runtime, model, view)
        yield from of_owner(runtime, estimated(model), model, view)


def _of_node(view: NodeView) -> Iterator[Problem]:
    node, name = view.node, resource_name("nodes", view.node.id)
    if node.standing is not Standing.ADMITTED:
        text = f"Node {node.id} is not admitted: {view.summary}."
        yield Problem("UNSCHEDULABLE", text, "Approve the node once you know whose it is.", {"node": name})
    elif not view.liveness.online:
        yield Problem("NODE_OFFLINE", f"Node {node.id} is offline.", "Start its agent.", {"node": name})
    if not node.schedulable:
        text = f"Node {node.id} takes nothing new."
        yield Problem("UNSCHEDULABLE", text, "Make the node schedulable again.", {"node": name})


def _of_labels(runtime: Runtime, view: NodeView) -> Iterator[Problem]:
    if missing := unmatched(runtime.spec.node_selector, view.node.labels):
        pairs = ", ".join(f"{key}={value}" for key, value in sorted(missing.items()))
        yield Problem(
            "LABELS_UNMATCHED",
            f"Node {view.node.id} lacks the labels {pairs}.",
            "Label the node, or change the runtime's node_selector.",
            {"node": resource_name("nodes", view.node.id), "labels": pairs},
        )


def _of_engine(runtime: Runtime, view: NodeView) -> Iterator[Problem]:
    adapter = runtime.spec.adapter
    if adapter != EXTERNAL and all(engine.adapter != adapter for engine in view.node.inventory.engines):
        yield Problem(
            "ENGINE_NOT_FOUND",
            f"Node {view.node.id} trusts no {adapter} engine.",
            f"On that machine: `arw-node-agent trust {adapter} PATH`.",
            {"node": resource_name("nodes", view.node.id), "adapter": adapter},
        )


def _of_accelerator(runtime: Runtime, view: NodeView) -> Iterator[Problem]:
    spec = runtime.spec
    needed = spec.accelerator not in _NO_DEVICE and spec.on_missing_accelerator is MissingAccelerator.FAIL
    if needed and not has_accelerator(runtime, view):
        text, remedy = _lack(runtime, view)
        yield Problem(
            "ACCELERATOR_MISSING",
            text,
            remedy,
            {"node": resource_name("nodes", view.node.id), "accelerator": spec.accelerator.value},
        )


def _lack(runtime: Runtime, view: NodeView) -> tuple[str, str]:
    """What is missing, and what to do: of a device that is there and does not work, its own problem."""
    kind, adapter, devices = runtime.spec.accelerator, runtime.spec.adapter, view.node.inventory.accelerators
    if any(device.kind is kind and device.usable for device in devices):
        text = f"Node {view.node.id} has a {kind.label}, and no {adapter} engine that it trusts can use it."
        return text, f"Install a build of {adapter} for it, then: `arw-node-agent trust {adapter} PATH`."
    problems = (device.problem for device in devices if device.kind is kind)
    found = next((problem for problem in problems if problem), None)
    if found is not None:
        return f"Node {view.node.id} has no {kind.label} that works: {found.text}", found.remedy
    remedy = 'Use another node, or set on_missing_accelerator = "degrade" to run on the CPU.'
    return f"Node {view.node.id} has no {kind.label}.", remedy


def _of_memory(runtime: Runtime, model: Model | None, view: NodeView) -> Iterator[Problem]:
    if runtime.spec.model == NO_MODEL:
        return
    if model is None:
        text = f"Model {runtime.spec.model} is not registered."
        yield Problem("NOT_FOUND", text, "Register it: `arwctl model add`.", {"model": runtime.spec.model})
        return
    known, memory = _measured(runtime, model, view), view.node.inventory.memory_bytes
    needed, how = (known, "took") if known else (estimated(model), "needs about")
    if memory and needed > memory:
        yield Problem(
            "MEMORY_INSUFFICIENT",
            f"Model {model.id} {how} {_mib(needed)} MiB, node {view.node.id} has {_mib(memory)} MiB.",
            "Use a smaller model or quantisation, or a node with more memory.",
            {"node": resource_name("nodes", view.node.id), "needed_bytes": str(needed), "memory_bytes": str(memory)},
        )


def estimated(model: Model | None) -> int:
    """Bytes of a model in memory, by estimate; 0 for none."""
    return int(model.whole_size_bytes * SIZE_FACTOR) if model is not None else 0


def _measured(runtime: Runtime, model: Model, view: NodeView) -> int | None:
    """Of the same file, engine, options and device; None while nobody ran that."""
    spec, inventory = runtime.spec, view.node.inventory
    if has_accelerator(runtime, view):
        kinds = {spec.accelerator}
    elif spec.accelerator is AcceleratorKind.UNSPECIFIED:
        kinds = {device.kind for device in inventory.accelerators if device.usable} | {AcceleratorKind.CPU}
    else:
        kinds = {AcceleratorKind.CPU}
    engines = [engine.sha256 for engine in inventory.engines if engine.adapter == spec.adapter]
    options = options_of(spec.settings)
    keys = (FootprintKey(model.sha256, engine, options, kind) for engine in engines for kind in kinds)
    return measured(view.footprints, keys, view.node.id)


def _mib(size: int) -> int:
    return -(-size // 2**20)
