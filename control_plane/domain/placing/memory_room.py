"""How much of the memory of nodes is taken by what is to run there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.ids import ModelId, NodeId, resource_name
from control_plane.domain.model import Model
from control_plane.domain.node_view import NodeView
from control_plane.domain.placing.device_choice import own_memory
from control_plane.domain.placing.memory_need import Need, need_of
from control_plane.domain.placing.owner_room import Placed
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import DesiredState, Runtime


@dataclass(frozen=True, slots=True)
class _Pool:
    """Bytes; a whole of 0 is not known, and nothing is held against it."""

    whole: int
    free: int
    label: str = ""


@dataclass(slots=True)
class _Taken:
    """On one node."""

    runtimes: int = 0
    host: int = 0
    devices: dict[AcceleratorKind, int] = field(default_factory=dict)

    def add(self, runtime: Runtime, need: Need) -> None:
        kind = runtime.spec.accelerator
        self.runtimes += 1
        self.host += need.host
        self.devices[kind] = self.devices.get(kind, 0) + need.device


class MemoryRooms:
    """Counted for a node when it is first asked for."""

    def __init__(self, models: Mapping[ModelId, Model], placed: Placed) -> None:
        """`placed`: beside those that are put in."""
        self._models = models
        self._placed = placed
        self._put: dict[NodeId, list[Runtime]] = {}
        self._taken: dict[NodeId, _Taken] = {}

    def put(self, runtime: Runtime, node: NodeId) -> None:
        if runtime.desired_state is DesiredState.RUNNING:
            self._put.setdefault(node, []).append(runtime)

    def objection(self, runtime: Runtime, view: NodeView) -> Problem | None:
        """That others leave too little. What is too large for the node by itself is no matter of room."""
        if view.node.overcommit or runtime.desired_state is not DesiredState.RUNNING:
            return None
        need = self._need(runtime, view)
        for needed, pool in ((need.host, self._host(view)), (need.device, self._devices(runtime, view))):
            if pool.free < needed <= pool.whole:
                return _full(runtime, view, pool, needed, "took" if need.is_measured else "needs about")
        return None

    def _host(self, view: NodeView) -> _Pool:
        whole = view.node.inventory.memory_bytes
        return _Pool(whole, whole - self._on(view).host if whole else 0)

    def _devices(self, runtime: Runtime, view: NodeView) -> _Pool:
        whole, kind = own_memory(runtime, view) or 0, runtime.spec.accelerator
        return _Pool(whole, whole - self._on(view).devices.get(kind, 0) if whole else 0, f" of its {kind.label}")

    def _on(self, view: NodeView) -> _Taken:
        node = view.node.id
        if node not in self._taken:
            self._taken[node] = _Taken()
            waking = (one for one in self._placed(node) if one.desired_state is DesiredState.RUNNING)
            self._count(view, waking)
        self._count(view, self._put.pop(node, ()))
        return self._taken[node]

    def _count(self, view: NodeView, runtimes: Iterable[Runtime]) -> None:
        taken = self._taken[view.node.id]
        for runtime in runtimes:
            taken.add(runtime, self._need(runtime, view))

    def _need(self, runtime: Runtime, view: NodeView) -> Need:
        return need_of(runtime, self._models.get(runtime.spec.model), view)


def _full(runtime: Runtime, view: NodeView, pool: _Pool, needed: int, how: str) -> Problem:
    node, free = view.node.id, max(0, pool.free)
    text = (
        f"Model {runtime.spec.model} {how} {_mib(needed)} MiB; of the {_mib(pool.whole)} MiB{pool.label} of node "
        f"{node} {free // 2**20} MiB are free, the rest is for what runs there."
    )
    remedy = f"Stop something there, or join another node. To overcommit: `arwctl nodes update {node} --overcommit`."
    said = {"node": resource_name("nodes", node), "needed_bytes": str(needed), "free_bytes": str(free)}
    return Problem("MEMORY_INSUFFICIENT", text, remedy, said)


def _mib(size: int) -> int:
    return -(-size // 2**20)
