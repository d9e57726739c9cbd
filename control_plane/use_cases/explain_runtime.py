from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from control_plane.domain.ids import ModelId, NodeId, RuntimeId
from control_plane.domain.instance import Instance
from control_plane.domain.intent_layers import layers
from control_plane.domain.intents import Choice, resolve
from control_plane.domain.model import Model
from control_plane.domain.node import Node
from control_plane.domain.placing.placement import judging
from control_plane.domain.placing.rooms import Rooms
from control_plane.domain.placing.ties import waits
from control_plane.domain.placing.verdict import Verdict
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import Runtime
from control_plane.domain.view import RuntimeView
from control_plane.use_cases.circumstances import Circumstances
from control_plane.use_cases.ports import Fleet, Store, Transaction
from control_plane.use_cases.rows import runtime_of
from control_plane.use_cases.slices import in_slices
from control_plane.use_cases.views import NodeViews, runtime_view, strain_of


@dataclass(frozen=True, slots=True)
class Explanation:
    view: RuntimeView
    verdicts: tuple[Verdict, ...]
    waits: Problem | None = None
    """Why it is still on a node that is silent."""
    copies: tuple[Instance, ...] = ()
    """Its instances on other nodes than its own: of places that it left."""
    choices: tuple[Choice, ...] = ()
    """What counts of what is said of how its engine is to run, and who said it."""

    @property
    def unsaid(self) -> tuple[str, ...]:
        """What its profile says and its adapter has no word for."""
        basis = self.view.runtime.spec.basis
        return basis.unsaid if basis is not None else ()


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
    circumstances: Circumstances

    async def __call__(self, runtime: RuntimeId) -> Explanation:
        facts = await self.store.read(lambda tx: _facts(tx, runtime))
        rows = {node.id: node for node in facts.nodes}
        nodes = NodeViews(rows, self.fleet, lambda node: self._strain(facts, node), self.circumstances)
        rooms = Rooms(facts.models, lambda node: facts.placed.get(node, ()))
        load = {node: len(runtimes) for node, runtimes in facts.placed.items()}
        model = facts.models.get(facts.runtime.spec.model)
        judged = await in_slices(judging(facts.runtime, model, nodes, load, rooms))
        view = runtime_view(facts.runtime, self.fleet)
        own = rows.get(facts.runtime.node) if facts.runtime.node is not None else None
        choices = resolve(layers(view, model, own.inventory if own is not None else None))
        waits = self._waits(facts.runtime, nodes)
        return Explanation(view, tuple(judged), waits, tuple(self._copies(facts)), choices)

    def _waits(self, runtime: Runtime, nodes: NodeViews) -> Problem | None:
        own = nodes.get(runtime.node) if runtime.node is not None else None
        if own is None:
            return None
        return waits(runtime, own, self.circumstances.situation(nodes.values()))

    def _copies(self, facts: _Facts) -> Iterator[Instance]:
        row = facts.runtime
        for node in facts.nodes:
            left = self.fleet.instance(node.id, row.id) if node.id != row.node else None
            if left is not None and not left.refused:
                yield left

    def _strain(self, facts: _Facts, node: NodeId) -> int:
        here = [facts.runtime] if facts.runtime.node == node else []
        return strain_of([*here, *facts.placed.get(node, ())], self.fleet)


def _facts(tx: Transaction, runtime: RuntimeId) -> _Facts:
    row = runtime_of(tx, runtime)
    placed: dict[NodeId, list[Runtime]] = {}
    for other in tx.runtimes.all():
        if other.node and other.id != runtime:
            placed.setdefault(other.node, []).append(other)
    return _Facts(row, {model.id: model for model in tx.models.all()}, tx.nodes.all(), placed)
