from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from control_plane.domain.claims.claim import Claim, Lease
from control_plane.domain.ids import ClaimId, ProjectId
from control_plane.use_cases.claims.changes import claim_of, extend, is_over
from control_plane.use_cases.claims.dues import ClaimDues
from control_plane.use_cases.ports import Clock, Store, Transaction
from wire.refusal import Refusal

Answer = tuple[Claim, Lease] | Refusal


@dataclass(slots=True)
class _Asked:
    """One renewal that all who ask for the same claim share."""

    project: ProjectId | None
    answer: asyncio.Future[tuple[Claim, Lease]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class RenewClaims:
    """Renewals, as many as come between two flushes in one transaction, which takes no revision and tells nobody.

    One for each control plane; only on the loop. Call `flush` once a second, from one loop.
    """

    def __init__(self, store: Store, clock: Clock, dues: ClaimDues) -> None:
        self._store = store
        self._clock = clock
        self._dues = dues
        self._asked: dict[tuple[ClaimId, ProjectId | None], _Asked] = {}

    async def __call__(self, project: ProjectId | None, claim: ClaimId) -> tuple[Claim, Lease]:
        """The claim as it is, and until when it lives: on disk when this returns. `project` None: of any.

        NotFound, NothingHeld when it is over, StorageUnavailable.
        """
        asked = self._asked.setdefault((claim, project), _Asked(project))
        return await asyncio.shield(asked.answer)

    async def flush(self) -> int:
        """Write what was asked for until now; returns how many were renewed."""
        asked, self._asked = self._asked, {}
        if not asked:
            return 0
        try:
            answers = await self._store.write(lambda tx: self._renewed(tx, asked))
        except Refusal as refusal:
            answers = dict.fromkeys(asked, refusal)
        return sum(self._answered(asked[key], answer) for key, answer in answers.items())

    def _renewed(
        self, tx: Transaction, asked: Mapping[tuple[ClaimId, ProjectId | None], _Asked]
    ) -> dict[tuple[ClaimId, ProjectId | None], Answer]:
        return {key: self._one(tx, *key) for key in asked}

    def _one(self, tx: Transaction, claim: ClaimId, project: ProjectId | None) -> Answer:
        try:
            row = claim_of(tx, claim, project)
        except Refusal as refusal:
            return refusal
        return is_over(row) if row.state.over else (row, extend(tx, row, self._clock.now()))

    def _answered(self, asked: _Asked, answer: Answer) -> bool:
        if asked.answer.cancelled():
            return False
        if isinstance(answer, Refusal):
            asked.answer.set_exception(answer)
            asked.answer.exception()
            return False
        self._dues.renewed(*answer)
        asked.answer.set_result(answer)
        return True
