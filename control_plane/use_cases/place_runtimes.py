from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from control_plane.domain.errors import NotLeading
from control_plane.domain.house import Assignment
from control_plane.domain.ids import NodeId, RuntimeId, instance_name
from control_plane.domain.node import Standing
from control_plane.domain.placement import place
from control_plane.domain.problem import Problem
from control_plane.domain.rooms import ROOM_REASONS
from control_plane.domain.runtime import Departure, DesiredState, Runtime
from control_plane.domain.situation import Situation
from control_plane.domain.ties import turns_at
from control_plane.use_cases import announcements
from control_plane.use_cases.circumstances import Circumstances
from control_plane.use_cases.mirror import Changed, Mirror
from control_plane.use_cases.ports import Clock, Fleet, Store, Transaction
from control_plane.use_cases.rows import save_runtime
from control_plane.use_cases.strains import Strains
from control_plane.use_cases.tell_silence import TellSilence
from control_plane.use_cases.views import NodeViews
from wire.refusal import Refusal

_AMOUNT = re.compile(r"\d+ MiB")


class PlaceRuntimes:
    """Give every runtime its place, as one change; returns how many places or reasons changed.

    Call after each change of intent and of liveness, from one loop. What changes meanwhile is left to the next call.
    Only runtimes that changed are judged again, unless nodes or models changed, came or went, or a deadline passed;
    and those without a place when one left a node.
    """

    def __init__(
        self, store: Store, mirror: Mirror, fleet: Fleet, clock: Clock, circumstances: Circumstances | None = None
    ) -> None:
        """`circumstances`: shared with those who explain; None: its own."""
        self._store = store
        self._mirror = mirror
        self._fleet = fleet
        self._clock = clock
        self._strains = Strains(mirror, fleet)
        self._circumstances = circumstances or Circumstances(fleet, clock)
        self._situation = Situation(clock.now())
        self._tell = TellSilence(store, clock)
        self._everyone = True
        self._changed: set[RuntimeId] = set()
        self._homeless: frozenset[RuntimeId] = frozenset()
        """Without a place, or stuck: one may become free when another leaves its own."""
        self._takes: dict[RuntimeId, tuple[NodeId | None, int]] = {}
        """Where each that is to run takes room, and as which generation."""
        self._due: datetime | None = None
        """When time alone moves something."""
        mirror.on_change(self._heard)
        fleet.on_node(self._heard_of)

    async def __call__(self) -> int:
        await self._mirror.look()
        moved = await self._written(self._moves(self._unsettled()))
        await self._tell(self._situation.silence)
        return moved

    async def _written(self, moves: Sequence[tuple[Runtime, Assignment]]) -> int:
        if not moves:
            return 0
        now = self._clock.now()
        try:
            return await self._store.write(lambda tx: sum(_moved(tx, seen, to, now) for seen, to in moves))
        except (NotLeading, Refusal):
            self._changed.update(seen.id for seen, _ in moves)
            raise

    def _heard(self, changed: Changed) -> None:
        self._everyone = self._everyone or bool(changed.nodes or changed.models)
        self._changed |= changed.runtimes
        rows = self._mirror.runtimes
        homeless = {id_ for id_ in changed.runtimes if id_ in rows and _waits(rows[id_])}
        self._homeless = (self._homeless - changed.runtimes) | homeless
        left = [id_ for id_ in changed.runtimes if self._left(id_)]
        if left:
            self._changed |= {id_ for id_ in self._homeless if _may_find_room(rows[id_])}

    def _left(self, runtime: RuntimeId) -> bool:
        """Whether what it took where it was may be free now."""
        row = self._mirror.runtimes.get(runtime)
        takes = (row.node, row.generation) if row and row.desired_state is DesiredState.RUNNING else None
        before = self._takes.pop(runtime, None)
        if takes is not None:
            self._takes[runtime] = takes
        return before not in (None, takes)

    def _heard_of(self, _node: NodeId) -> None:
        self._everyone = True

    def _unsettled(self) -> Collection[Runtime]:
        """The runtimes to judge now."""
        if self._due is not None and self._clock.now() >= self._due:
            self._everyone = True
        everyone, self._everyone = self._everyone, False
        if everyone:
            self._due = self._circumstances.steady_next()
            self._situation = self._circumstances.situation(self._mirror.nodes.values())
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

        situation = replace(self._situation, now=self._clock.now())
        views = NodeViews(self._mirror.nodes, self._fleet, self._strains.of, self._circumstances.unsteady_until)
        found = place(runtimes, self._mirror.models, views, load, placed, situation=situation)
        turns = (time for runtime in runtimes if (time := _turn(runtime, views, situation)) is not None)
        self._due = min([*turns, *([self._due] if self._due else [])], default=None)
        seen = self._mirror.runtimes
        return [(seen[a.runtime], a) for a in found if _differs(seen[a.runtime], a)]


def _may_find_room(runtime: Runtime) -> bool:
    """When something leaves a node."""
    problem = runtime.placement_problem or runtime.stuck
    return problem is None or problem.reason in ROOM_REASONS


def _waits(runtime: Runtime) -> bool:
    return runtime.node is None or runtime.stuck is not None


def _turn(runtime: Runtime, views: NodeViews, situation: Situation) -> datetime | None:
    view = views.get(runtime.node) if runtime.node else None
    if view is None or (view.node.drain is None and runtime.spec.placement.move_after is None):
        return None
    return turns_at(runtime, view, situation)


def _differs(runtime: Runtime, assignment: Assignment) -> bool:
    known = runtime.node, _said(runtime.placement_problem), _said(runtime.stuck)
    return known != (assignment.node, _said(assignment.problem), _said(assignment.stuck))


def _said(problem: Problem | None) -> tuple[str, str, str] | None:
    """But for amounts: what is free changes with every neighbour, and those who wait may be many."""
    return (problem.reason, _AMOUNT.sub("", problem.text), problem.remedy) if problem is not None else None


def _moved(tx: Transaction, seen: Runtime, to: Assignment, now: datetime) -> bool:
    """False when the runtime or its new node changed since it was looked at."""
    runtime = tx.runtimes.get(seen.id)
    if runtime is None or runtime.revision != seen.revision or not (to.node == runtime.node or _takes(tx, to)):
        return False
    moved = replace(runtime, node=to.node, placement_problem=to.problem, stuck=to.stuck)
    if runtime.node is not None and runtime.node != to.node:
        tx.desired.bury(runtime.node, instance_name(runtime.node, runtime.id))
        moved = replace(moved, fence=runtime.fence + 1, departure=Departure(runtime.node, now))
    saved = save_runtime(tx, moved, now)
    tx.journal.append(announcements.placed(saved, now, runtime.node or ""))
    return True


def _takes(tx: Transaction, to: Assignment) -> bool:
    node = tx.nodes.get(to.node) if to.node else None
    if node is None:
        return to.node is None
    return node.standing is Standing.ADMITTED and node.schedulable and node.drain is None
