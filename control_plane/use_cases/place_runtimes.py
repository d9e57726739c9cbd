from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from control_plane.domain.claims.holds import moved as without_holders
from control_plane.domain.errors import NotLeading
from control_plane.domain.ids import NodeId, RuntimeId, instance_name
from control_plane.domain.node import Standing
from control_plane.domain.placing.candidates import Candidates
from control_plane.domain.placing.house import Assignment
from control_plane.domain.placing.placement import placing
from control_plane.domain.placing.rooms import ROOM_REASONS
from control_plane.domain.placing.situation import Situation
from control_plane.domain.placing.ties import turns_at
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import Departure, DesiredState, Runtime
from control_plane.domain.steps import Steps
from control_plane.use_cases import announcements
from control_plane.use_cases.circumstances import Circumstances
from control_plane.use_cases.mirror import Changed, Mirror
from control_plane.use_cases.ports import Clock, Fleet, Store, Transaction
from control_plane.use_cases.rows import save_runtime
from control_plane.use_cases.slices import SLICE, in_slices
from control_plane.use_cases.strains import Strains
from control_plane.use_cases.tell_silence import TellSilence
from control_plane.use_cases.views import NodeViews
from wire.refusal import Refusal

_AMOUNT = re.compile(r"\d+ MiB")


class PlaceRuntimes:
    """Give every runtime its place, as one change; returns how many places or reasons changed.

    Call after each change of intent and of liveness, from one loop. What changes meanwhile is left to the next call.
    Only runtimes that changed are judged again, unless nodes or models changed, came or went, or a deadline passed;
    and those without a place when one left a node. However many they are, others on the loop have their turns.
    """

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        fleet: Fleet,
        clock: Clock,
        circumstances: Circumstances | None = None,
        *,
        slice_: timedelta = SLICE,
    ) -> None:
        """`circumstances`: shared with those who explain; None: its own. `slice_`: how long it holds the loop."""
        self._store = store
        self._mirror = mirror
        self._fleet = fleet
        self._clock = clock
        self._strains = Strains(mirror, fleet)
        self._slice = slice_
        self._circumstances = circumstances or Circumstances(fleet, clock)
        self._situation = Situation(clock.now())
        self._tell = TellSilence(store, clock)
        self._everyone = True
        self._changed: set[RuntimeId] = set()
        self._homeless: frozenset[RuntimeId] = frozenset()
        """Without a place, or stuck: one may become free when another leaves its own."""
        self._takes: dict[RuntimeId, tuple[NodeId | None, int]] = {}
        """Where each takes a place, and as which generation it takes memory; 0: it is shut down."""
        self._due: datetime | None = None
        """When time alone moves something."""
        mirror.on_change(self._heard)
        fleet.on_node(self._heard_of)

    async def __call__(self) -> int:
        await self._mirror.look()
        moved = await self._written(await in_slices(self._moves(), self._slice))
        await self._tell(self._situation.silence)
        return moved

    async def _written(self, moves: Sequence[tuple[Runtime, Assignment]]) -> int:
        if not moves:
            return 0
        now = self._clock.now()
        try:
            return await self._store.write(lambda tx: sum(moved(tx, seen, to, now) for seen, to in moves))
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
        takes = (row.node, row.generation if row.desired_state is DesiredState.RUNNING else 0) if row else None
        before = self._takes.pop(runtime, None)
        if takes is not None:
            self._takes[runtime] = takes
        if before is None or takes is None or takes[0] != before[0]:
            return before is not None
        return before[1] not in (0, takes[1])

    def _heard_of(self, _node: NodeId) -> None:
        self._everyone = True

    def _moves(self) -> Steps[list[tuple[Runtime, Assignment]]]:
        """By the rows as they are at the first step."""
        everyone, runtimes = self._unsettled()
        if not runtimes and not everyone:
            return []
        load, seen = self._load_beside(runtimes), {runtime.id: runtime for runtime in runtimes}
        nodes, models = dict(self._mirror.nodes), dict(self._mirror.models)
        views = NodeViews(nodes, self._fleet, self._strains.of, self._circumstances)
        if everyone:
            yield from self._look_around(views)

        def placed(node: NodeId) -> Iterator[Runtime]:
            return (runtime for runtime in self._mirror.placed(node) if runtime.id not in seen)

        situation = replace(self._situation, now=self._clock.now())
        found = yield from placing(runtimes, models, views, load, placed, situation=situation)
        turns = yield from _turns(runtimes, views, situation)
        self._due = min([*turns, *([self._due] if self._due else [])], default=None)
        return (yield from _changed(seen, found))

    def _unsettled(self) -> tuple[bool, Collection[Runtime]]:
        """The runtimes to judge now, and whether they are all."""
        if self._due is not None and self._clock.now() >= self._due:
            self._everyone = True
        everyone, self._everyone = self._everyone, False
        changed, self._changed = self._changed, set()
        known = self._mirror.runtimes
        if everyone:
            return True, tuple(known.values())
        return False, [known[runtime] for runtime in changed if runtime in known]

    def _load_beside(self, runtimes: Iterable[Runtime]) -> dict[NodeId, int]:
        load = self._mirror.load()
        for runtime in runtimes:
            if runtime.node is not None:
                load[runtime.node] -= 1
        return load

    def _look_around(self, views: NodeViews) -> Steps[None]:
        self._due = self._circumstances.steady_next()
        yield from Candidates(views).looked_at()
        self._situation = self._circumstances.situation(views.values())


def _may_find_room(runtime: Runtime) -> bool:
    """When something leaves a node."""
    problem = runtime.placement_problem or runtime.stuck
    return problem is None or problem.reason in ROOM_REASONS


def _waits(runtime: Runtime) -> bool:
    return runtime.node is None or runtime.stuck is not None


def _turns(runtimes: Iterable[Runtime], views: NodeViews, situation: Situation) -> Steps[list[datetime]]:
    found = []
    for runtime in runtimes:
        if (time := _turn(runtime, views, situation)) is not None:
            found.append(time)
        yield
    return found


def _turn(runtime: Runtime, views: NodeViews, situation: Situation) -> datetime | None:
    view = views.get(runtime.node) if runtime.node else None
    if view is None or (view.node.drain is None and runtime.spec.placement.move_after is None):
        return None
    return turns_at(runtime, view, situation)


def _changed(seen: Mapping[RuntimeId, Runtime], found: Iterable[Assignment]) -> Steps[list[tuple[Runtime, Assignment]]]:
    changed = []
    for assignment in found:
        runtime = seen[assignment.runtime]
        if _differs(runtime, assignment):
            changed.append((runtime, assignment))
        yield
    return changed


def _differs(runtime: Runtime, assignment: Assignment) -> bool:
    known = runtime.node, _said(runtime.placement_problem), _said(runtime.stuck)
    return known != (assignment.node, _said(assignment.problem), _said(assignment.stuck))


def _said(problem: Problem | None) -> tuple[str, str, str] | None:
    """But for amounts: what is free changes with every neighbour, and those who wait may be many."""
    return (problem.reason, _AMOUNT.sub("", problem.text), problem.remedy) if problem is not None else None


def moved(tx: Transaction, seen: Runtime, to: Assignment, now: datetime) -> bool:
    """False when the runtime or its new node changed since it was looked at."""
    runtime = tx.runtimes.get(seen.id)
    if runtime is None or runtime.revision != seen.revision or not (to.node == runtime.node or _takes(tx, to)):
        return False
    row = replace(runtime, node=to.node, placement_problem=to.problem, stuck=to.stuck)
    if runtime.node is not None and runtime.node != to.node:
        tx.desired.bury(runtime.node, instance_name(runtime.node, runtime.id))
        row = replace(without_holders(row), departure=Departure(runtime.node, now))
    saved = save_runtime(tx, row, now)
    tx.journal.append(announcements.placed(saved, now, runtime.node or ""))
    return True


def _takes(tx: Transaction, to: Assignment) -> bool:
    node = tx.nodes.get(to.node) if to.node else None
    if node is None:
        return to.node is None
    return node.standing is Standing.ADMITTED and node.schedulable and node.drain is None
