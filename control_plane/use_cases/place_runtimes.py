from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import datetime

from control_plane.domain.errors import StorageUnavailable
from control_plane.domain.ids import NodeId, RuntimeId, instance_name
from control_plane.domain.node import Standing
from control_plane.domain.owner_room import OwnerRooms
from control_plane.domain.placement import Assignment, place
from control_plane.domain.runtime import Runtime
from control_plane.use_cases import announcements
from control_plane.use_cases.mirror import Changed, Mirror
from control_plane.use_cases.ports import Clock, Fleet, Store, Transaction
from control_plane.use_cases.rows import save_runtime
from control_plane.use_cases.views import NodeViews


class PlaceRuntimes:
    """Give every runtime its place, as one change; returns how many places or reasons changed.

    Call after each change of intent and of liveness, from one loop. What changes meanwhile is left to the next call.
    Only runtimes that changed are judged again, unless nodes or models changed, came or went; and those without a place
    when one changed on a node whose owner gives room for so many.
    """

    def __init__(self, store: Store, mirror: Mirror, fleet: Fleet, clock: Clock) -> None:
        self._store = store
        self._mirror = mirror
        self._fleet = fleet
        self._clock = clock
        self._everyone = True
        self._changed: set[RuntimeId] = set()
        self._homeless: frozenset[RuntimeId] = frozenset()
        """Without a place: one may become free when another changes where the owner gives room for so many."""
        mirror.on_change(self._heard)
        fleet.on_node(self._heard_of)

    async def __call__(self) -> int:
        await self._mirror.look()
        moves = self._moves(self._unsettled())
        if not moves:
            return 0
        now = self._clock.now()
        try:
            return await self._store.write(lambda tx: sum(_moved(tx, seen, to, now) for seen, to in moves))
        except StorageUnavailable:
            self._changed.update(seen.id for seen, _ in moves)
            raise

    def _heard(self, changed: Changed) -> None:
        self._everyone = self._everyone or bool(changed.nodes or changed.models)
        self._changed |= changed.runtimes
        rows = self._mirror.runtimes
        homeless = {id_ for id_ in changed.runtimes if id_ in rows and rows[id_].node is None}
        self._homeless = (self._homeless - changed.runtimes) | homeless
        rooms = OwnerRooms(self._mirror.models, self._mirror.placed)
        hosts = (row for node in changed.hosts if (row := self._mirror.nodes.get(node)) is not None)
        if any(map(rooms.may_take_more, hosts)):
            self._changed |= self._homeless

    def _heard_of(self, _node: NodeId) -> None:
        self._everyone = True

    def _unsettled(self) -> Collection[Runtime]:
        """The runtimes to judge now."""
        everyone, self._everyone = self._everyone, False
        changed, self._changed = self._changed, set()
        known = self._mirror.runtimes
        return known.values() if everyone else [known[runtime] for runtime in changed if runtime in known]

    def _moves(self, runtimes: Collection[Runtime]) -> list[tuple[Runtime, Assignment]]:
        if not runtimes:
            return []
        load, judged = self._mirror.load(), {runtime.id for runtime in runtimes}
        for runtime in runtimes:
            if runtime.node is not None:
                load[runtime.node] -= 1

        def placed(node: NodeId) -> Iterator[Runtime]:
            return (runtime for runtime in self._mirror.placed(node) if runtime.id not in judged)

        found = place(runtimes, self._mirror.models, NodeViews(self._mirror.nodes, self._fleet), load, placed)
        seen = self._mirror.runtimes
        return [(seen[a.runtime], a) for a in found if _differs(seen[a.runtime], a)]


def _differs(runtime: Runtime, assignment: Assignment) -> bool:
    return (runtime.node, runtime.placement_problem) != (assignment.node, assignment.problem)


def _moved(tx: Transaction, seen: Runtime, to: Assignment, now: datetime) -> bool:
    """False when the runtime or its new node changed since it was looked at."""
    runtime = tx.runtimes.get(seen.id)
    if runtime is None or runtime.revision != seen.revision or not _admitted(tx, to):
        return False
    moved = replace(runtime, node=to.node, placement_problem=to.problem)
    if runtime.node is not None and runtime.node != to.node:
        tx.desired.bury(runtime.node, instance_name(runtime.node, runtime.id))
        moved = replace(moved, fence=runtime.fence + 1)
    saved = save_runtime(tx, moved, now)
    tx.journal.append(announcements.placed(saved, now, runtime.node or ""))
    return True


def _admitted(tx: Transaction, to: Assignment) -> bool:
    node = tx.nodes.get(to.node) if to.node else None
    return to.node is None or (node is not None and node.standing is Standing.ADMITTED)
