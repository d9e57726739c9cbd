"""Where each runtime runs: one pure function, and the reasons behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from control_plane.domain.candidates import Candidates
from control_plane.domain.ids import ModelId, NodeId, RuntimeId
from control_plane.domain.model import Model
from control_plane.domain.node_view import NodeView
from control_plane.domain.objections import has_accelerator, keeps, objections
from control_plane.domain.owner_room import OwnerRooms, Placed, is_limited
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import Runtime
from control_plane.domain.seats import Seats
from control_plane.domain.verdict import ACCELERATOR_SCORE, Verdict, judged, nowhere


@dataclass(frozen=True, slots=True)
class Assignment:
    runtime: RuntimeId
    node: NodeId | None
    problem: Problem | None = None
    """Why it has no place; None while it has one."""


def _nobody(_node: NodeId) -> Iterable[Runtime]:
    return ()


def place(
    runtimes: Iterable[Runtime],
    models: Mapping[ModelId, Model],
    nodes: Mapping[NodeId, NodeView],
    others: Mapping[NodeId, int] = MappingProxyType({}),
    placed: Placed = _nobody,
) -> list[Assignment]:
    """An assignment for each of these runtimes, in id order. The order of the arguments does not matter.

    What has a place keeps it for as long as its node is admitted and its selector matches, online or not;
    the rest goes where it fits best. `others`: how many runtimes beside these are placed on each node. `placed`: which.
    """
    ordered = sorted(runtimes, key=lambda runtime: runtime.id)
    candidates = Candidates(nodes)
    settled = {runtime.id: runtime.node for runtime in ordered if runtime.node and _stays(runtime, candidates)}
    house = _House(models, candidates, Counter(others), OwnerRooms(models, placed))
    for runtime in ordered:
        if (node := settled.get(runtime.id)) is not None:
            house.take(runtime, node)
    return [
        Assignment(runtime.id, settled[runtime.id]) if runtime.id in settled else house.seat(runtime)
        for runtime in ordered
    ]


def verdicts(
    runtime: Runtime,
    model: Model | None,
    nodes: Iterable[NodeView],
    load: Mapping[NodeId, int],
    rooms: OwnerRooms | None = None,
) -> list[Verdict]:
    """What placement thinks of each node, in id order. `load`, `rooms`: of runtimes placed there, this one left out."""
    rooms = rooms or OwnerRooms({}, _nobody)
    present = Candidates({view.node.id: view for view in nodes}).matching({})
    ordered = sorted(present, key=lambda view: view.node.id)
    found = [judged(runtime, model, view, load.get(view.node.id, 0), rooms) for view in ordered]
    chosen = runtime.node or _best(found)
    return [Verdict(v.node, v.node == chosen, v.problems, v.score, v.score_reasons) for v in found]


def _stays(runtime: Runtime, candidates: Candidates) -> bool:
    view = candidates.get(runtime.node) if runtime.node else None
    return view is not None and keeps(runtime, view)


def _asked(runtime: Runtime) -> Hashable:
    """What nodes are judged by: runtimes that ask the same share the judgement."""
    spec = runtime.spec
    selector = tuple(sorted(spec.node_selector.items()))
    asked = spec.model, spec.adapter, spec.settings, spec.accelerator, spec.on_missing_accelerator, spec.execution
    return *asked, selector, runtime.desired_state


@dataclass(frozen=True, slots=True)
class _House:
    """The nodes while runtimes are placed on them."""

    models: Mapping[ModelId, Model]
    candidates: Candidates
    load: Counter[NodeId]
    rooms: OwnerRooms
    seats: dict[Hashable, Seats] = field(default_factory=dict)
    limited: dict[NodeId, NodeView] = field(default_factory=dict)
    """Of the nodes that fit, those whose owners give room for so much."""

    def take(self, runtime: Runtime, node: NodeId) -> None:
        self.load[node] += 1
        self.rooms.put(runtime, node)

    def seat(self, runtime: Runtime) -> Assignment:
        asked = _asked(runtime)
        if asked not in self.seats:
            self.seats[asked] = Seats.of((view.node.id, _bonus(runtime, view)) for view in self._fit(runtime))
        seats = self.seats[asked]
        node = seats.best(self.load, lambda node: self._has_room(runtime, node))
        if node is not None:
            self.take(runtime, node)
        elif seats.problem is None:
            seats.problem = self._nowhere(runtime)
        return Assignment(runtime.id, node, seats.problem)

    def _fit(self, runtime: Runtime) -> Iterator[NodeView]:
        model = self.models.get(runtime.spec.model)
        for view in self.candidates.matching(runtime.spec.node_selector):
            if next(objections(runtime, model, view), None) is None:
                if is_limited(view.node.inventory.limits):
                    self.limited[view.node.id] = view
                yield view

    def _has_room(self, runtime: Runtime, node: NodeId) -> bool:
        view = self.limited.get(node)
        return view is None or self.rooms.objection(runtime, view) is None

    def _nowhere(self, runtime: Runtime) -> Problem:
        model = self.models.get(runtime.spec.model)
        matching = self.candidates.matching(runtime.spec.node_selector)
        found = (judged(runtime, model, view, self.load[view.node.id], self.rooms) for view in matching)
        return nowhere(runtime, sorted(found, key=_node_of))


def _bonus(runtime: Runtime, view: NodeView) -> int:
    return ACCELERATOR_SCORE if has_accelerator(runtime, view) else 0


def _node_of(verdict: Verdict) -> NodeId:
    return verdict.node


def _best(found: Sequence[Verdict]) -> NodeId | None:
    fit = [verdict for verdict in found if not verdict.problems]
    return min(fit, key=lambda verdict: (-verdict.score, verdict.node)).node if fit else None
