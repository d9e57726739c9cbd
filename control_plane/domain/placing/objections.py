"""Why a node would not do for a runtime."""

from __future__ import annotations

from collections.abc import Iterator

from control_plane.domain.ids import resource_name
from control_plane.domain.labels import unmatched
from control_plane.domain.model import Model
from control_plane.domain.node import Standing
from control_plane.domain.node_view import FLAPS, NodeView
from control_plane.domain.placing.device_choice import NO_DEVICE, has_accelerator, own_memory
from control_plane.domain.placing.execution_objections import of_execution
from control_plane.domain.placing.memory_need import estimated, need_of
from control_plane.domain.placing.owner_objections import of_owner
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import EXTERNAL, NO_MODEL, MissingAccelerator, Runtime


def keeps(runtime: Runtime, view: NodeView) -> bool:
    """Whether what is placed here stays: silence, a cordon or quarantine move nothing; a person's word does."""
    return view.node.drain is None and belongs(runtime, view)


def belongs(runtime: Runtime, view: NodeView) -> bool:
    """Whether a person lets it be here at all."""
    known = view.node.standing in (Standing.ADMITTED, Standing.QUARANTINED)
    return known and not unmatched(runtime.spec.node_selector, view.node.labels)


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
    elif view.unsteady_until is not None:
        until = f"{view.unsteady_until:%Y-%m-%dT%H:%M:%SZ}"
        text = f"Node {node.id} came and went {FLAPS} times of late, and takes nothing new before {until}."
        yield Problem("UNSCHEDULABLE", text, "Look at its network, and at its agent's log.", {"node": name})
    if not node.schedulable:
        text = f"Node {node.id} takes nothing new."
        yield Problem("UNSCHEDULABLE", text, "Make the node schedulable again.", {"node": name})
    if node.drain is not None:
        text = f"Node {node.id} is being drained."
        yield Problem(
            "UNSCHEDULABLE", text, f"Let it take runtimes again: `arwctl nodes resume {node.id}`.", {"node": name}
        )


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
    needed = spec.accelerator not in NO_DEVICE and spec.on_missing_accelerator is MissingAccelerator.FAIL
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
    need = need_of(runtime, model, view)
    pools = (
        (need.host, view.node.inventory.memory_bytes, ""),
        (need.device, own_memory(runtime, view) or 0, f" on its {runtime.spec.accelerator.label}"),
    )
    how, node = "took" if need.is_measured else "needs about", resource_name("nodes", view.node.id)
    for needed, memory, where in pools:
        if memory and needed > memory:
            yield Problem(
                "MEMORY_INSUFFICIENT",
                f"Model {model.id} {how} {_mib(needed)} MiB, node {view.node.id} has {_mib(memory)} MiB{where}.",
                "Use a smaller model or quantisation, or a node with more memory.",
                {
                    "node": node,
                    "needed_bytes": str(needed),
                    "memory_bytes": str(memory),
                },
            )


def _mib(size: int) -> int:
    return -(-size // 2**20)
