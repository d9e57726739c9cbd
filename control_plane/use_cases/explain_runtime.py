from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from control_plane.domain.ids import ModelId, NodeId, RuntimeId
from control_plane.domain.model import Model
from control_plane.domain.node import Node
from control_plane.domain.owner_room import OwnerRooms
from control_plane.domain.placement import verdicts
from control_plane.domain.runtime import Runtime
from control_plane.domain.verdict import Verdict
from control_plane.domain.view import RuntimeView
from control_plane.use_cases.ports import Fleet, Store, Transaction
from control_plane.use_cases.rows import runtime_of
from control_plane.use_cases.views import node_view, runtime_view


@dataclass(frozen=True, slots=True)
class Explanation:
    view: RuntimeView
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class _Facts:
    runtime: Runtime
    models: Mapping[ModelId, Model]
    nodes: Sequence[Node]
    placed: Mapping[NodeId, Sequence[Runtime]]
    """The other runtimes, by their node."""


@dataclass(frozen=True, slots=True)
class ExplainRuntime:
    """For every node: why here, why not there. NotFound."""

    store: Store
    fleet: Fleet

    async def __call__(self, runtime: RuntimeId) -> Explanation:
        facts = await self.store.read(lambda tx: _facts(tx, runtime))
        nodes = [node_view(node, self.fleet) for node in facts.nodes]
        rooms = OwnerRooms(facts.models, lambda node: facts.placed.get(node, ()))
        load = {node: len(runtimes) for node, runtimes in facts.placed.items()}
        judged = verdicts(facts.runtime, facts.models.get(facts.runtime.spec.model), nodes, load, rooms)
        return Explanation(runtime_view(facts.runtime, self.fleet), tuple(judged))


def _facts(tx: Transaction, runtime: RuntimeId) -> _Facts:
    row = runtime_of(tx, runtime)
    placed: dict[NodeId, list[Runtime]] = {}
    for other in tx.runtimes.all():
        if other.node and other.id != runtime:
            placed.setdefault(other.node, []).append(other)
    return _Facts(row, {model.id: model for model in tx.models.all()}, tx.nodes.all(), placed)
