"""Where each runtime runs: one pure function, and the reasons behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from control_plane.domain.ids import ModelId, NodeId, RuntimeId
from control_plane.domain.model import Model
from control_plane.domain.node_view import NodeView
from control_plane.domain.placing.candidates import Candidates
from control_plane.domain.placing.house import ENOUGH, Assignment, House
from control_plane.domain.placing.merits import loaded_on
from control_plane.domain.placing.owner_room import Placed
from control_plane.domain.placing.rooms import Rooms
from control_plane.domain.placing.situation import UNTIMED, Situation
from control_plane.domain.placing.ties import Tie, stuck, tie
from control_plane.domain.placing.verdict import Verdict, judged
from control_plane.domain.runtime import Runtime
from control_plane.domain.runtime_set import turn
from control_plane.domain.steps import Steps, finished


def _nobody(_node: NodeId) -> Iterable[Runtime]:
    return ()


def place(
    runtimes: Iterable[Runtime],
    models: Mapping[ModelId, Model],
    nodes: Mapping[NodeId, NodeView],
    others: Mapping[NodeId, int] = MappingProxyType({}),
    placed: Placed = _nobody,
    *,
    situation: Situation = UNTIMED,
) -> list[Assignment]:
    """An assignment for each of these runtimes, in id order. The order of the arguments does not matter.

    What has a place keeps it for as long as its node is admitted, not drained, and its selector matches, online or
    not; the rest goes where it fits best. Of very many nodes that fit, enough are compared, and not all.

    `others`: how many runtimes beside these are placed on each node. `placed`: which.
    """
    return finished(placing(runtimes, models, nodes, others, placed, situation=situation))


def placing(
    runtimes: Iterable[Runtime],
    models: Mapping[ModelId, Model],
    nodes: Mapping[NodeId, NodeView],
    others: Mapping[NodeId, int],
    placed: Placed,
    *,
    situation: Situation,
) -> Steps[list[Assignment]]:
    """`place` in steps. Mappings are to stay as they are meanwhile."""
    ordered = sorted(runtimes, key=turn)
    candidates = Candidates(nodes)
    ties = yield from _ties(ordered, candidates, situation)
    moving = sum(how is not Tie.KEPT for how in ties.values())
    house = House(models, candidates, Counter(others), Rooms(models, placed), enough=max(ENOUGH, 2 * moving))
    for runtime in ordered:
        if runtime.node is not None and ties[runtime.id] is Tie.KEPT:
            house.take(runtime, runtime.node)
            yield
    found = []
    for runtime in ordered:
        found.append((yield from _assigned(runtime, ties[runtime.id], house)))
        yield
    return sorted(found, key=lambda assignment: assignment.runtime)


def verdicts(
    runtime: Runtime,
    model: Model | None,
    nodes: Iterable[NodeView],
    load: Mapping[NodeId, int],
    rooms: Rooms | None = None,
) -> list[Verdict]:
    """What placement thinks of each node, in id order. `load`, `rooms`: of runtimes placed there, this one left out."""
    views = {view.node.id: view for view in nodes}
    return finished(judging(runtime, model, views, load, rooms or Rooms({}, _nobody)))


def judging(
    runtime: Runtime, model: Model | None, nodes: Mapping[NodeId, NodeView], load: Mapping[NodeId, int], rooms: Rooms
) -> Steps[list[Verdict]]:
    """`verdicts` in steps."""
    candidates = Candidates(nodes)
    yield from candidates.looked_at()
    ordered = sorted(candidates.matching({}), key=lambda view: view.node.id)
    loaded = loaded_on(model, candidates.footprints)
    found: list[Verdict] = []
    for view in ordered:
        found.append(judged(runtime, model, view, load.get(view.node.id, 0), rooms, loaded=loaded))
        yield
    chosen = runtime.node or _best(found)
    return [Verdict(v.node, v.node == chosen, v.problems, v.score, v.score_reasons) for v in found]


def _ties(runtimes: Iterable[Runtime], candidates: Candidates, situation: Situation) -> Steps[dict[RuntimeId, Tie]]:
    found = {}
    for runtime in runtimes:
        found[runtime.id] = _tie(runtime, candidates, situation)
        yield
    return found


def _tie(runtime: Runtime, candidates: Candidates, situation: Situation) -> Tie:
    return tie(runtime, candidates.get(runtime.node) if runtime.node else None, situation)


def _assigned(runtime: Runtime, how: Tie, house: House) -> Steps[Assignment]:
    if how is Tie.KEPT:
        return Assignment(runtime.id, runtime.node)
    found = yield from house.seat(runtime)
    own = house.candidates.get(runtime.node) if runtime.node else None
    if how is Tie.CUT or found.problem is None or own is None:
        return found
    return Assignment(runtime.id, runtime.node, stuck=stuck(own, found.problem))


def _best(found: Sequence[Verdict]) -> NodeId | None:
    fit = [verdict for verdict in found if not verdict.problems]
    return min(fit, key=lambda verdict: (-verdict.score, verdict.node)).node if fit else None
