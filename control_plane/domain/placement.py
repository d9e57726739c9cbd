"""Where each runtime runs: one pure function, and the reasons behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from control_plane.domain.candidates import Candidates
from control_plane.domain.ids import ModelId, NodeId, RuntimeId
from control_plane.domain.model import Model
from control_plane.domain.node_view import NodeView
from control_plane.domain.objections import has_accelerator, keeps, objections
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import Runtime
from control_plane.domain.seats import Seats

HERE_SCORE = 1000
ACCELERATOR_SCORE = 500
SHOWN_NODES = 8


@dataclass(frozen=True, slots=True)
class Assignment:
    runtime: RuntimeId
    node: NodeId | None
    problem: Problem | None = None
    """Why it has no place; None while it has one."""


@dataclass(frozen=True, slots=True)
class Verdict:
    node: NodeId
    chosen: bool
    problems: tuple[Problem, ...] = ()
    """Empty when the node would do."""
    score: int = 0
    score_reasons: tuple[str, ...] = ()


def place(
    runtimes: Iterable[Runtime],
    models: Mapping[ModelId, Model],
    nodes: Mapping[NodeId, NodeView],
    others: Mapping[NodeId, int] = MappingProxyType({}),
) -> list[Assignment]:
    """An assignment for each of these runtimes, in id order. The order of the arguments does not matter.

    What has a place keeps it for as long as its node is admitted and its selector matches, online or not;
    the rest goes where it fits best. `others`: how many runtimes beside these are placed on each node.
    """
    ordered = sorted(runtimes, key=lambda runtime: runtime.id)
    candidates = Candidates(nodes)
    settled = {runtime.id: runtime.node for runtime in ordered if runtime.node and _stays(runtime, candidates)}
    load = Counter(others)
    load.update(settled.values())
    seats: dict[Hashable, Seats] = {}
    found = []
    for runtime in ordered:
        kept = settled.get(runtime.id)
        if kept is None:
            asked = _asked(runtime)
            if asked not in seats:
                seats[asked] = _seats(runtime, models.get(runtime.spec.model), candidates, load)
            found.append(_seated(runtime, seats[asked], load))
        else:
            found.append(Assignment(runtime.id, kept))
    return found


def verdicts(
    runtime: Runtime, model: Model | None, nodes: Iterable[NodeView], load: Mapping[NodeId, int]
) -> list[Verdict]:
    """What placement thinks of each node, in id order. `load`: runtimes placed on each node, this one left out."""
    present = Candidates({view.node.id: view for view in nodes}).matching({})
    ordered = sorted(present, key=lambda view: view.node.id)
    judged = [_verdict(runtime, model, view, load.get(view.node.id, 0)) for view in ordered]
    chosen = runtime.node or _best(judged)
    return [Verdict(v.node, v.node == chosen, v.problems, v.score, v.score_reasons) for v in judged]


def _stays(runtime: Runtime, candidates: Candidates) -> bool:
    view = candidates.get(runtime.node) if runtime.node else None
    return view is not None and keeps(runtime, view)


def _asked(runtime: Runtime) -> Hashable:
    """What nodes are judged by: runtimes that ask the same share the judgement."""
    spec = runtime.spec
    selector = tuple(sorted(spec.node_selector.items()))
    return spec.model, spec.adapter, spec.settings, spec.accelerator, spec.on_missing_accelerator, selector


def _seats(runtime: Runtime, model: Model | None, candidates: Candidates, load: Mapping[NodeId, int]) -> Seats:
    matching = candidates.matching(runtime.spec.node_selector)
    fit = [view for view in matching if next(objections(runtime, model, view), None) is None]
    if fit:
        return Seats.of((view.node.id, _bonus(runtime, view)) for view in fit)
    judged = sorted((_verdict(runtime, model, view, load.get(view.node.id, 0)) for view in matching), key=_node_of)
    return Seats([], _nowhere(runtime, judged))


def _seated(runtime: Runtime, seats: Seats, load: Counter[NodeId]) -> Assignment:
    node = seats.best(load)
    if node is not None:
        load[node] += 1
    return Assignment(runtime.id, node, seats.problem)


def _bonus(runtime: Runtime, view: NodeView) -> int:
    return ACCELERATOR_SCORE if has_accelerator(runtime, view) else 0


def _node_of(verdict: Verdict) -> NodeId:
    return verdict.node


def _best(judged: Sequence[Verdict]) -> NodeId | None:
    fit = [verdict for verdict in judged if not verdict.problems]
    return min(fit, key=lambda verdict: (-verdict.score, verdict.node)).node if fit else None


def _verdict(runtime: Runtime, model: Model | None, view: NodeView, load: int) -> Verdict:
    node = view.node.id
    problems = () if runtime.node == node and keeps(runtime, view) else tuple(objections(runtime, model, view))
    if problems:
        return Verdict(node, chosen=False, problems=problems)
    reasons = [(-load, f"{load} other runtimes placed here")]
    if runtime.node == node:
        reasons.append((HERE_SCORE, "already here"))
    if has_accelerator(runtime, view):
        reasons.append((ACCELERATOR_SCORE, "has the accelerator"))
    score = sum(points for points, _ in reasons)
    return Verdict(node, chosen=False, score=score, score_reasons=tuple(f"{p:+d} {text}" for p, text in reasons))


def _nowhere(runtime: Runtime, judged: Sequence[Verdict]) -> Problem:
    """The one reason that every node with the right labels has, or a list of each node's first."""
    if not judged and (selector := runtime.spec.node_selector):
        pairs = ", ".join(f"{key}={value}" for key, value in sorted(selector.items()))
        remedy = "Label a node, or change the runtime's node_selector."
        return Problem("LABELS_UNMATCHED", f"No node has the labels {pairs}.", remedy, {"labels": pairs})
    if not judged:
        return Problem("NO_NODE", "No machine has joined yet.", "Join one: `arwctl up`, or `arw-node-agent join`.")
    first = [(verdict.node, verdict.problems[0]) for verdict in judged]
    if len(first) == 1:
        return first[0][1]
    shown = " ".join(problem.text for _, problem in first[:SHOWN_NODES])
    left = f" And {len(first) - SHOWN_NODES} more." if len(first) > SHOWN_NODES else ""
    remedies = dict.fromkeys(problem.remedy for _, problem in first)
    remedy = next(iter(remedies)) if len(remedies) == 1 else "Change one of these, or join another node."
    reasons = {problem.reason for _, problem in first}
    return Problem(reasons.pop() if len(reasons) == 1 else "NO_NODE", f"No node can run it. {shown}{left}", remedy)
