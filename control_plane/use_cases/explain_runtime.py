from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.model import Model
from control_plane.domain.node import Node
from control_plane.domain.placement import Verdict, verdicts
from control_plane.domain.runtime import Runtime
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
    model: Model | None
    nodes: Sequence[Node]
    load: Counter[NodeId]


@dataclass(frozen=True, slots=True)
class ExplainRuntime:
    """For every node: why here, why not there. NotFound."""

    store: Store
    fleet: Fleet

    async def __call__(self, runtime: RuntimeId) -> Explanation:
        facts = await self.store.read(lambda tx: _facts(tx, runtime))
        nodes = [node_view(node, self.fleet) for node in facts.nodes]
        judged = verdicts(facts.runtime, facts.model, nodes, facts.load)
        return Explanation(runtime_view(facts.runtime, self.fleet), tuple(judged))


def _facts(tx: Transaction, runtime: RuntimeId) -> _Facts:
    row = runtime_of(tx, runtime)
    load = Counter(other.node for other in tx.runtimes.all() if other.node and other.id != runtime)
    return _Facts(row, tx.models.get(row.spec.model), tx.nodes.all(), load)
