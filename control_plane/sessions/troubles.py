"""What a node says is wrong with it as a whole. It says so again with every acknowledgement while it lasts."""

from __future__ import annotations

from collections.abc import Iterable

from arw.v1 import problem_pb2
from arw.v1 import session_pb2 as pb
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
NAMED = 3
"""Of the removals that are held back."""


def troubles(reports: Iterable[pb.ResourceProblem]) -> tuple[Problem, ...]:
    """One problem a reason, in the order of first mention."""
    found: dict[problem_pb2.Reason.ValueType, list[pb.ResourceProblem]] = {}
    for report in reports:
        if report.problem.reason in OF_THE_NODE:
            found.setdefault(report.problem.reason, []).append(report)
    return tuple(
        _held_back(group) if _is_guard(group) else problem_from_proto(group[0].problem) for group in found.values()
    )


def _is_guard(group: list[pb.ResourceProblem]) -> bool:
    return group[0].problem.reason == problem_pb2.REASON_REMOVAL_GUARD


def _held_back(group: list[pb.ResourceProblem]) -> Problem:
    names = sorted(instance_ids(report.name)[1] for report in group)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    what = "removal" if len(names) == 1 else "removals"
    text = f"Holds back {len(names)} {what}: {', '.join(names[:NAMED])}{more}."
    first = problem_from_proto(group[0].problem)
    return Problem(first.reason, text, first.remedy, {"removals": str(len(names))})
