from __future__ import annotations

from arw.v1 import problem_pb2 as pb
from control_plane.domain.problem import Problem
from control_plane.messages.texts import clipped, clipped_pairs
from wire.refusal import Refusal

_PREFIX = "REASON_"


def problem_to_proto(problem: Problem | None) -> pb.Problem | None:
    if problem is None:
        return None
    return pb.Problem(
        reason=pb.Reason.Value(_PREFIX + problem.reason),
        text=problem.text,
        remedy=problem.remedy,
        metadata=problem.metadata,
    )


def refusal_to_proto(refusal: Refusal) -> pb.Problem:
    return pb.Problem(
        reason=pb.Reason.Value(_PREFIX + refusal.reason),
        text=refusal.text,
        remedy=refusal.remedy,
        metadata=dict(refusal.metadata),
    )


def problem_from_proto(message: pb.Problem) -> Problem:
    """A reason of a newer peer, which has no name here, reads INTERNAL; its words are kept."""
    known = message.reason in pb.Reason.values() and message.reason != pb.REASON_UNSPECIFIED
    reason = pb.Reason.Name(message.reason).removeprefix(_PREFIX) if known else "INTERNAL"
    return Problem(reason, clipped(message.text), clipped(message.remedy), clipped_pairs(message.metadata))
