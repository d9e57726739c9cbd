from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from control_plane.domain.ids import instance_name
from control_plane.domain.model import Model
from control_plane.domain.node import Node, Standing
from control_plane.domain.placement import Assignment, place
from control_plane.domain.runtime import Runtime
from control_plane.use_cases import announcements
from control_plane.use_cases.ports import Clock, Fleet, Store, Transaction
from control_plane.use_cases.rows import save_runtime
from control_plane.use_cases.views import node_view


@dataclass(frozen=True, slots=True)
class _Facts:
    runtimes: Sequence[Runtime]
    models: Sequence[Model]
    nodes: Sequence[Node]


@dataclass(frozen=True, slots=True)
class PlaceRuntimes:
    """Give every runtime its place, as one change; returns how many places or reasons changed.

    Call after each change of intent and of liveness. What changes meanwhile is left to the next call.
    """

    store: Store
    fleet: Fleet
    clock: Clock

    async def __call__(self) -> int:
        facts = await self.store.read(_facts)
        nodes = [node_view(node, self.fleet) for node in facts.nodes]
        found = place(facts.runtimes, {model.id: model for model in facts.models}, nodes)
        before = {runtime.id: runtime for runtime in facts.runtimes}
        moves = [(before[a.runtime], a) for a in found if _differs(before[a.runtime], a)]
        if not moves:
            return 0
        now = self.clock.now()
        return await self.store.write(lambda tx: sum(_moved(tx, seen, to, now) for seen, to in moves))


def _facts(tx: Transaction) -> _Facts:
    return _Facts(tx.runtimes.all(), tx.models.all(), tx.nodes.all())


def _differs(runtime: Runtime, assignment: Assignment) -> bool:
    return (runtime.node, runtime.placement_problem) != (assignment.node, assignment.problem)


def _moved(tx: Transaction, seen: Runtime, to: Assignment, now: datetime) -> bool:
    """False when the runtime or its new node changed since it was looked at."""
    runtime = tx.runtimes.get(seen.id)
    if runtime is None or runtime.revision != seen.revision or not _admitted(tx, to):
        return False
    moved = replace(runtime, node=to.node, placement_problem=to.problem)
    if runtime.node is not None and runtime.node != to.node:
        tx.revise("runtimes", runtime.id)
        tx.desired.bury(runtime.node, instance_name(runtime.node, runtime.id))
        moved = replace(moved, fence=runtime.fence + 1)
    saved = save_runtime(tx, moved, now)
    tx.journal.append(announcements.placed(saved, now, runtime.node or ""))
    return True


def _admitted(tx: Transaction, to: Assignment) -> bool:
    node = tx.nodes.get(to.node) if to.node else None
    return to.node is None or (node is not None and node.standing is Standing.ADMITTED)
