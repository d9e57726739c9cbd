from __future__ import annotations

from dataclasses import dataclass

from control_plane.domain.admission import Presented, refusal
from control_plane.domain.problem import Problem
from control_plane.use_cases.ports import Clock, Store


@dataclass(frozen=True, slots=True)
class DiagnoseCredential:
    """Why a certificate of ours does not work; None when nothing is wrong with it."""

    store: Store
    clock: Clock

    async def __call__(self, presented: Presented) -> Problem | None:
        node = await self.store.read(lambda tx: tx.nodes.get(presented.node))
        refused = refusal(node, presented, self.clock.now())
        return Problem.of(refused) if refused else None
