"""What placement thinks of one node for a runtime, and of none of them being fit."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from control_plane.domain.ids import NodeId
from control_plane.domain.model import Model
from control_plane.domain.node_view import NodeView
from control_plane.domain.placing.crowd import crowded
from control_plane.domain.placing.merits import HERE_SCORE, merits, of_load, points
from control_plane.domain.placing.objections import keeps, objections
from control_plane.domain.placing.rooms import Rooms
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import Runtime

SHOWN_NODES = 8


@dataclass(frozen=True, slots=True)
class Verdict:
    node: NodeId
    chosen: bool
    problems: tuple[Problem, ...] = ()
    """Empty when the node would do."""
    score: int = 0
    score_reasons: tuple[str, ...] = ()


def judged(
    runtime: Runtime,
    model: Model | None,
    view: NodeView,
    load: int,
    rooms: Rooms,
    *,
    loaded: Collection[NodeId] = (),
) -> Verdict:
    """What placement thinks of a node. `loaded`: where its model was in memory before."""
    node = view.node.id
    keeps_it = runtime.node == node and keeps(runtime, view)
    problems = () if keeps_it else tuple(_against(runtime, model, view, load, rooms))
    if problems:
        return Verdict(node, chosen=False, problems=problems)
    reasons = [of_load(runtime, load)]
    if runtime.node == node:
        reasons.append((HERE_SCORE, "already here"))
    reasons += merits(runtime, view, loaded)
    return Verdict(node, False, (), points(reasons), tuple(f"{p:+d} {text}" for p, text in reasons))


def _against(runtime: Runtime, model: Model | None, view: NodeView, load: int, rooms: Rooms) -> Iterator[Problem]:
    yield from objections(runtime, model, view)
    if (crowd := crowded(view, load)) is not None:
        yield crowd
    yield from rooms.objections(runtime, view)


def nowhere(runtime: Runtime, verdicts: Sequence[Verdict]) -> Problem:
    """The one reason that every node with the right labels has, or a list of each node's first."""
    if not verdicts and (selector := runtime.spec.node_selector):
        pairs = ", ".join(f"{key}={value}" for key, value in sorted(selector.items()))
        remedy = "Label a node, or change the runtime's node_selector."
        return Problem("LABELS_UNMATCHED", f"No node has the labels {pairs}.", remedy, {"labels": pairs})
    if not verdicts:
        return Problem("NO_NODE", "No machine has joined yet.", "Join one: `arwctl up`, or `arw-node-agent join`.")
    first = [(verdict.node, verdict.problems[0]) for verdict in verdicts]
    if len(first) == 1:
        return first[0][1]
    shown = " ".join(problem.text for _, problem in first[:SHOWN_NODES])
    left = f" And {len(first) - SHOWN_NODES} more." if len(first) > SHOWN_NODES else ""
    remedies = dict.fromkeys(problem.remedy for _, problem in first)
    remedy = next(iter(remedies)) if len(remedies) == 1 else "Change one of these, or join another node."
    reasons = {problem.reason for _, problem in first}
    return Problem(reasons.pop() if len(reasons) == 1 else "NO_NODE", f"No node can run it. {shown}{left}", remedy)
