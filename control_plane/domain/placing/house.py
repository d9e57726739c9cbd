"""The nodes while runtimes are placed on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from zlib import crc32

from control_plane.domain.ids import ModelId, NodeId, RuntimeId
from control_plane.domain.model import Model
from control_plane.domain.node_view import NodeView
from control_plane.domain.placing.candidates import Candidates
from control_plane.domain.placing.crowd import crowded
from control_plane.domain.placing.merits import loaded_on, merits, points
from control_plane.domain.placing.objections import objections
from control_plane.domain.placing.rooms import ROOM_REASONS, Rooms
from control_plane.domain.placing.seats import Seats
from control_plane.domain.placing.verdict import Verdict, judged, nowhere
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import PlacementStrategy, Runtime
from control_plane.domain.runtime_set import set_of
from control_plane.domain.steps import Steps

ENOUGH = 500
"""Nodes that fit, to compare for one runtime; for many at once, twice as many as they are."""


@dataclass(frozen=True, slots=True)
class Assignment:
    runtime: RuntimeId
    node: NodeId | None
    problem: Problem | None = None
    """Why it has no place; None while it has one."""
    stuck: Problem | None = None
    """Why it is still on a node that it is to leave."""


def _asked(runtime: Runtime) -> Hashable:
    """What nodes are judged by: runtimes that ask the same share the judgement."""
    spec = runtime.spec
    selector = tuple(sorted(spec.node_selector.items()))
    asked = spec.model, spec.adapter, spec.settings, spec.accelerator, spec.on_missing_accelerator, spec.execution
    before = runtime.departure.node if runtime.departure is not None else None
    return *asked, spec.basis, selector, spec.placement.strategy, runtime.desired_state, before


@dataclass(frozen=True, slots=True)
class House:
    models: Mapping[ModelId, Model]
    candidates: Candidates
    load: Counter[NodeId]
    rooms: Rooms
    enough: int
    """Nodes that fit, of which the best is as good as the best of all."""
    taken: list[NodeId] = field(default_factory=list)
    """Of each runtime put, in order."""
    seats: dict[Hashable, Seats] = field(default_factory=dict)
    fit: dict[NodeId, NodeView] = field(default_factory=dict)
    """Every node that fits something."""
    problems: dict[Hashable, Problem] = field(default_factory=dict)
    """Why there is no seat, or none any more."""
    unfit: dict[Hashable, dict[NodeId, Verdict]] = field(default_factory=dict)
    """Nodes that lack more than room."""

    def take(self, runtime: Runtime, node: NodeId) -> None:
        self.load[node] += 1
        self.taken.append(node)
        self.rooms.put(runtime, node)

    def seat(self, runtime: Runtime) -> Steps[Assignment]:
        asked = _asked(runtime)
        if asked not in self.seats:
            self.seats[asked] = yield from self._seats(runtime, self.enough)
        node = yield from self._best(runtime, self.seats[asked])
        if node is None and self.seats[asked].offered == self.enough:
            # The others are looked at only when none of these has room.
            self.seats[asked] = yield from self._seats(runtime, None)
            node = yield from self._best(runtime, self.seats[asked])
        if node is not None:
            self.take(runtime, node)
            return Assignment(runtime.id, node)
        alike = asked, set_of(runtime)
        if alike not in self.problems:
            self.problems[alike] = yield from self._nowhere(runtime)
        return Assignment(runtime.id, None, self.problems[alike])

    def _best(self, runtime: Runtime, seats: Seats) -> Steps[NodeId | None]:
        return seats.best(
            lambda node: self._has_room(runtime, node), lambda node: self.rooms.apart(runtime, self.fit[node])
        )

    def _seats(self, runtime: Runtime, most: int | None) -> Steps[Seats]:
        model, loaded = self.models.get(runtime.spec.model), self._loaded(runtime)
        bonus: dict[NodeId, int] = {}
        for view in (yield from self._considered(runtime)):
            if next(objections(runtime, model, view), None) is None:
                self.fit[view.node.id] = view
                bonus[view.node.id] = points(merits(runtime, view, loaded))
            if len(bonus) == most:
                break
            yield
        packs = runtime.spec.placement.strategy is PlacementStrategy.BINPACK
        return Seats(bonus, self.load, self.taken, packs=packs)

    def _considered(self, runtime: Runtime) -> Steps[Iterable[NodeView]]:
        """Those first that know its model, then others from a point that is the runtime's own."""
        if runtime.spec.node_selector or len(self.candidates) <= self.enough:
            return (yield from self._matching(runtime))
        before = [runtime.departure.node] if runtime.departure is not None else []
        return self.candidates.around(crc32(runtime.id.encode()), [*self._loaded(runtime), *before])

    def _loaded(self, runtime: Runtime) -> Collection[NodeId]:
        return loaded_on(self.models.get(runtime.spec.model), self.candidates.footprints)

    def _has_room(self, runtime: Runtime, node: NodeId) -> bool:
        view = self.fit[node]
        return crowded(view, self.load[node]) is None and next(self.rooms.objections(runtime, view), None) is None

    def _matching(self, runtime: Runtime) -> Steps[Iterable[NodeView]]:
        yield from self.candidates.looked_at()
        return self.candidates.matching(runtime.spec.node_selector)

    def _nowhere(self, runtime: Runtime) -> Steps[Problem]:
        seeker, known = replace(runtime, node=None), self.unfit.setdefault(_asked(runtime), {})
        found: list[Verdict] = []
        for view in (yield from self._matching(runtime)):
            found.append(self._verdict(seeker, view, known))
            yield
        return nowhere(runtime, sorted(found, key=_node_of))

    def _verdict(self, seeker: Runtime, view: NodeView, known: dict[NodeId, Verdict]) -> Verdict:
        """What is no matter of room is found once for all that ask the same."""
        node = view.node.id
        if node in known:
            return known[node]
        found = judged(seeker, self.models.get(seeker.spec.model), view, self.load[node], self.rooms)
        if found.problems and found.problems[0].reason not in ROOM_REASONS:
            known[node] = found
        return found


def _node_of(verdict: Verdict) -> NodeId:
    return verdict.node
