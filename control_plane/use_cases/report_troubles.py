from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from control_plane.domain.ids import NodeId
from control_plane.domain.node import HeldRemoval, Liveness
from control_plane.domain.node_view import NodeView
from control_plane.domain.problem import Problem
from control_plane.use_cases import announcements
from control_plane.use_cases.ports import Clock, Fleet, Store, Transaction
from control_plane.use_cases.rows import fenced

TOLD = 100
"""Held removals that one event names."""


@dataclass(frozen=True, slots=True)
class ReportTroubles:
    """Journal and show what a node says is wrong with it as a whole, until it says otherwise. SessionSuperseded."""

    store: Store
    fleet: Fleet
    clock: Clock

    async def __call__(
        self, node: NodeId, epoch: int, problems: Sequence[Problem], held: Sequence[HeldRemoval] = ()
    ) -> bool:
        """False when that was known; then nothing is written."""
        known = self.fleet.liveness(node)
        liveness = replace(known, problems=tuple(problems), held=tuple(held))
        if liveness == known:
            return False
        now = self.clock.now()
        await self.store.write(lambda tx: _told(tx, node, epoch, liveness, now))
        self.fleet.trouble(node, liveness.problems, liveness.held)
        return True


def _told(tx: Transaction, node: NodeId, epoch: int, liveness: Liveness, now: datetime) -> None:
    view = NodeView(fenced(tx, node, epoch), liveness)
    problems = [announcements.problem_json(problem) for problem in liveness.problems]
    first = problems[0] if problems else {"reason": "", "text": ""}
    cause = "trouble" if problems else "trouble over"
    tx.journal.append(
        announcements.node_changed(
            view,
            now,
            cause=cause,
            reason=first["reason"],
            text=first["text"],
            problems=problems,
            held_removals=[held.runtime for held in liveness.held[:TOLD]],
        )
    )
