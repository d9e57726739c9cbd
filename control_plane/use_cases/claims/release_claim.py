from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from control_plane.domain.claims.claim import Claim, ClaimState
from control_plane.domain.claims.states import turned
from control_plane.domain.ids import ClaimId, ProjectId
from control_plane.domain.problem import Problem
from control_plane.use_cases.claims.changes import claim_of, put
from control_plane.use_cases.ports import Clock, Store, Transaction


@dataclass(frozen=True, slots=True)
class ReleaseClaim:
    """Give a claim up, held or waiting. One that is over stays as it ended. NotFound. `project` None: of any."""

    store: Store
    clock: Clock

    async def __call__(self, project: ProjectId | None, claim: ClaimId) -> Claim:
        now = self.clock.now()
        return await self.store.write(lambda tx: _ended(tx, project, claim, ClaimState.RELEASED, now))


@dataclass(frozen=True, slots=True)
class RevokeClaim:
    """An operator takes a claim away. One that is over stays as it ended. NotFound."""

    store: Store
    clock: Clock

    async def __call__(self, claim: ClaimId, operator: str, why: str = "") -> Claim:
        said = f': "{why[:200]}"' if why else ""
        text = f"Operator {operator} revoked it{said}."
        problem = Problem("CLAIM_REVOKED", text, "Ask the operator.", {"operator": operator})
        now = self.clock.now()
        return await self.store.write(lambda tx: _ended(tx, None, claim, ClaimState.REVOKED, now, problem=problem))


def _ended(
    tx: Transaction,
    project: ProjectId | None,
    name: ClaimId,
    state: ClaimState,
    now: datetime,
    *,
    problem: Problem | None = None,
) -> Claim:
    claim = claim_of(tx, name, project)
    return claim if claim.state.over else put(tx, claim, turned(claim, state, now, problem=problem), now)
