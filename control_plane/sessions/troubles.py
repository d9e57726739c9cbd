"""What a node says is wrong with it as a whole. It says so again with every acknowledgement while it lasts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from arw.v1 import problem_pb2
from arw.v1 import session_pb2 as pb
from control_plane.domain.ids import NodeId
from control_plane.domain.node import HeldRemoval
from control_plane.domain.problem import Problem
from control_plane.messages.instances import instance_ids
from control_plane.messages.problems import problem_from_proto

OF_THE_NODE = frozenset(
    {
        problem_pb2.REASON_HISTORY_CHANGED,
        problem_pb2.REASON_STALE_REVISION,
        problem_pb2.REASON_STORAGE_UNAVAILABLE,
        problem_pb2.REASON_REMOVAL_GUARD,
    }
)
NAMED = 8
"""Of the removals that are held back."""


def troubles(node: NodeId, reports: Iterable[pb.ResourceProblem]) -> tuple[Problem, ...]:
    """One problem a reason, in the order of first mention."""
    found: dict[problem_pb2.Reason.ValueType, list[pb.ResourceProblem]] = {}
    for report in reports:
        if report.problem.reason in OF_THE_NODE:
            found.setdefault(report.problem.reason, []).append(report)
    return tuple(
        _held_back(node, held_removals(group)) if is_guard(group[0]) else problem_from_proto(group[0].problem)
        for group in found.values()
    )


def held_removals(reports: Iterable[pb.ResourceProblem]) -> tuple[HeldRemoval, ...]:
    """By runtime."""
    held = (HeldRemoval(instance_ids(each.name)[1], each.spec_revision) for each in reports if is_guard(each))
    return tuple(sorted(held, key=lambda removal: removal.runtime))


def is_guard(report: pb.ResourceProblem) -> bool:
    return report.problem.reason == problem_pb2.REASON_REMOVAL_GUARD


def _held_back(node: NodeId, held: Sequence[HeldRemoval]) -> Problem:
    names = [removal.runtime for removal in held]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    what = "removal" if len(names) == 1 else "removals"
    return Problem(
        "REMOVAL_GUARD",
        f"Holds back {len(names)} {what}: {', '.join(names[:NAMED])}{more}.",
        f"To stop them now: arwctl nodes allow-removals {node}. To keep them, declare them again.",
        {"removals": str(len(names))},
    )
