"""The nodes while runtimes are placed on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from zlib import crc32

from control_plane.domain.candidates import Candidates
from control_plane.domain.ids import ModelId, NodeId, RuntimeId
from control_plane.domain.merits import loaded_on, merits, points
from control_plane.domain.model import Model
from control_plane.domain.node_view import NodeView
from control_plane.domain.objections import objections
from control_plane.domain.problem import Problem
from control_plane.domain.rooms import Rooms
from control_plane.domain.runtime import PlacementStrategy, Runtime
from control_plane.domain.seats import Seats
from control_plane.domain.verdict import Verdict, judged, nowhere

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
    return *asked, selector, spec.placement.strategy, runtime.desired_state, before


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

    def take(self, runtime: Runtime, node: NodeId) -> None:
        self.load[node] += 1
        self.taken.append(node)
        self.rooms.put(runtime, node)

    def seat(self, runtime: Runtime) -> Assignment:
        asked = _asked(runtime)
        if asked not in self.seats:
            self.seats[asked] = self._seats(runtime, self.enough)
        node = self.seats[asked].best(lambda node: self._has_room(runtime, node))
        if node is None and self.seats[asked].offered == self.enough:
            # The others are looked at only when none of these has room.
            self.seats[asked] = self._seats(runtime, None)
            node = self.seats[asked].best(lambda node: self._has_room(runtime, node))
        seats = self.seats[asked]
        if node is not None:
            self.take(runtime, node)
        elif seats.problem is None:
            seats.problem = self._nowhere(runtime)
        return Assignment(runtime.id, node, seats.problem)

    def _seats(self, runtime: Runtime, most: int | None) -> Seats:
        fit = list(islice(self._fit(runtime), most))
        loaded = self._loaded(runtime)
        packs = runtime.spec.placement.strategy is PlacementStrategy.BINPACK
        return Seats(
            {view.node.id: points(merits(runtime, view, loaded)) for view in fit}, self.load, self.taken, packs=packs
        )

    def _fit(self, runtime: Runtime) -> Iterator[NodeView]:
        model = self.models.get(runtime.spec.model)
        for view in self._considered(runtime):
            if next(objections(runtime, model, view), None) is None:
                self.fit[view.node.id] = view
                yield view

    def _considered(self, runtime: Runtime) -> Iterable[NodeView]:
        """Those first that know its model, then others from a point that is the runtime's own."""
        if runtime.spec.node_selector or len(self.candidates) <= self.enough:
            return self.candidates.matching(runtime.spec.node_selector)
        before = [runtime.departure.node] if runtime.departure is not None else []
        return self.candidates.around(crc32(runtime.id.encode()), [*self._loaded(runtime), *before])

    def _loaded(self, runtime: Runtime) -> Collection[NodeId]:
        return loaded_on(self.models.get(runtime.spec.model), self.candidates.footprints)

    def _has_room(self, runtime: Runtime, node: NodeId) -> bool:
        return next(self.rooms.objections(runtime, self.fit[node]), None) is None

    def _nowhere(self, runtime: Runtime) -> Problem:
        model, seeker = self.models.get(runtime.spec.model), replace(runtime, node=None)
        matching = self.candidates.matching(runtime.spec.node_selector)
        found = (judged(seeker, model, view, self.load[view.node.id], self.rooms) for view in matching)
        return nowhere(runtime, sorted(found, key=_node_of))


def _node_of(verdict: Verdict) -> NodeId:
    return verdict.node
