"""Which state of a claim may follow which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from control_plane.domain.claims.claim import Claim, ClaimState
from control_plane.domain.ids import ClaimId

_S = ClaimState
_ENDS = frozenset({_S.RELEASED, _S.EXPIRED, _S.REVOKED})

NEXT: Mapping[ClaimState, frozenset[ClaimState]] = {
    _S.REQUESTED: frozenset({_S.QUEUED, _S.RESERVED, _S.REJECTED}),
    _S.QUEUED: _ENDS | {_S.RESERVED},
    _S.RESERVED: _ENDS | {_S.GRANTED, _S.QUEUED},
    _S.GRANTED: _ENDS | {_S.SUSPENDED},
    _S.SUSPENDED: _ENDS | {_S.GRANTED, _S.RESERVED},
    _S.RELEASED: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.REVOKED: frozenset(),
    _S.REJECTED: frozenset(),
}


class IllegalTransition(Exception):  # noqa: N818 - no refusal: nobody outside can ask for one
    """A fault of ours: no claim goes from the one state to the other."""

    def __init__(self, claim: ClaimId, before: ClaimState, after: ClaimState) -> None:
        super().__init__(f"claim {claim} cannot go from {before} to {after}")
        self.before = before
        self.after = after


def turned(claim: Claim, state: ClaimState, now: datetime, **changed: Any) -> Claim:
    """The claim in another state. IllegalTransition. What it holds goes with a state that holds nothing."""
    if state not in NEXT[claim.state]:
        raise IllegalTransition(claim.id, claim.state, state)
    if not state.holds:
        changed = {"held": None, "notice": None, **changed}
    end = now if state.over else None
    return replace(claim, state=state, state_time=now, end_time=end, **changed)
