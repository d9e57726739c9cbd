"""What the owner of a node says against a runtime. The node itself enforces it; here it saves a vain try."""

from __future__ import annotations

from collections.abc import Iterator

from control_plane.domain.model import Model
from control_plane.domain.node_view import NodeView
from control_plane.domain.placing.execution_objections import ways
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import EXTERNAL, Runtime


def of_owner(runtime: Runtime, needed_bytes: int, model: Model | None, view: NodeView) -> Iterator[Problem]:
    """`needed_bytes`: an estimate of the model in memory."""
    limits, adapter = view.node.inventory.limits, runtime.spec.adapter
    if limits.closed is not None:
        yield limits.closed
    if adapter in limits.denied_adapters:
        text = f"The owner of node {view.node.id} does not let the adapter {adapter} run there."
        yield denied(view, "adapters", text)
    modes = runtime.spec.execution.possible
    if adapter != EXTERNAL and not any(map(limits.allows, modes)):
        text = f"The owner of node {view.node.id} does not let engines run {ways(modes)} there."
        yield denied(view, "modes", text)
    most = limits.memory_per_runtime_bytes
    if model is not None and most is not None and needed_bytes > most:
        text = (
            f"Model {model.id} needs about {_mib(needed_bytes)} MiB; the owner of node {view.node.id} gives a runtime "
            f"{_mib(most)} MiB."
        )
        yield denied(view, "memory.per_runtime", text)


def denied(view: NodeView, rule: str, text: str) -> Problem:
    node, file = view.node.id, view.node.inventory.limits.file
    remedy = f"Ask the owner of node {node}: rule {rule} in {file}."
    return Problem("LOCAL_POLICY_DENIED", text, remedy, {"rule": rule, "file": file, "node": node})


def _mib(size: int) -> int:
    return -(-size // 2**20)
