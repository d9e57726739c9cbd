"""Why a node has no mode for a runtime."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from control_plane.domain.execution import ExecutionMode
from control_plane.domain.ids import resource_name
from control_plane.domain.node import Engine, NodeInventory
from control_plane.domain.node_view import NodeView
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import EXTERNAL, Runtime, RuntimeSpec

_WAYS = {ExecutionMode.NATIVE: "natively", ExecutionMode.CONTAINER: "in a container"}


def way(mode: ExecutionMode) -> str:
    return _WAYS.get(mode, "in a mode that is not known here")


def ways(modes: Iterable[ExecutionMode]) -> str:
    return " or ".join(way(mode) for mode in modes)


def of_execution(runtime: Runtime, view: NodeView) -> Iterator[Problem]:
    """Nothing where no mode is the owner's word alone, or no engine is there at all: others tell of that."""
    spec, inventory = runtime.spec, view.node.inventory
    modes = spec.execution.possible
    if spec.adapter == EXTERNAL or not _engines(spec, inventory) or not any(map(inventory.limits.allows, modes)):
        return
    lacks = {mode: _lack(mode, spec, inventory) for mode in modes}
    if not all(lacks.values()):
        return
    whys = "; nor ".join(f"{way(mode)}: {lack}" for mode, lack in lacks.items())
    yield Problem(
        "EXECUTION_MODE_UNAVAILABLE",
        f"Node {view.node.id} cannot run it {whys}.",
        "Mend that on the node, use another one, or let the runtime run in another mode.",
        {"node": resource_name("nodes", view.node.id), "modes": ", ".join(modes)},
    )


def _lack(mode: ExecutionMode, spec: RuntimeSpec, inventory: NodeInventory) -> str:
    """What keeps the node from this mode; empty: nothing does."""
    if not inventory.limits.allows(mode):
        return "its owner does not allow it"
    offer = next((offer for offer in inventory.execution if offer.mode is mode), None)
    if offer is None and (inventory.execution or mode is not ExecutionMode.NATIVE):
        return "its agent does not know how"
    if offer is not None and not offer.available:
        return offer.detail.rstrip(".") or "its agent does not say why"
    return _engine_lack(mode, spec, inventory)


def _engine_lack(mode: ExecutionMode, spec: RuntimeSpec, inventory: NodeInventory) -> str:
    images = [engine.image for engine in _engines(spec, inventory)]
    if mode is ExecutionMode.NATIVE:
        return "" if "" in images else f"it trusts {spec.adapter} in images alone"
    wanted = spec.execution.image
    if wanted:
        return "" if wanted in images else f"it does not trust the image {wanted} for {spec.adapter}"
    return "" if any(images) else f"it trusts no image for {spec.adapter}"


def _engines(spec: RuntimeSpec, inventory: NodeInventory) -> list[Engine]:
    return [engine for engine in inventory.engines if engine.adapter == spec.adapter]
