from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from control_plane.domain import restart_budget
from control_plane.domain.ids import RuntimeId
from control_plane.domain.instance import Instance
from control_plane.domain.runtime import DesiredState, RestoreOrder, Runtime
from control_plane.domain.view import RuntimeView
from control_plane.use_cases import announcements
from control_plane.use_cases.once import Request, remember, repeated, request
from control_plane.use_cases.ports import Clock, Fleet, Store, Transaction
from control_plane.use_cases.rows import runtime_of, save_runtime
from control_plane.use_cases.runtime_sets import members
from control_plane.use_cases.views import runtime_view

Seen = Mapping[RuntimeId, Instance | None]
"""What nodes said of each of a set, before the change."""


@dataclass(frozen=True, slots=True)
class RestoreRuntime:
    """Start a runtime and its replicas where they are stopped or failed; never at the cost of a budget.

    NotFound; RestartBudgetExhausted when one of them failed with nothing left, unless the budgets are reset.
    """

    store: Store
    fleet: Fleet
    clock: Clock

    async def __call__(
        self, runtime: RuntimeId, *, restart: bool = False, reset_budget: bool = False, request_id: str = ""
    ) -> RuntimeView:
        asked = request("RestoreRuntime", request_id, runtime, restart, reset_budget)
        rows = await self.store.read(lambda tx: members(tx, runtime_of(tx, runtime)))
        seen = {row.id: runtime_view(row, self.fleet).instance for row in rows}
        order = RestoreOrder(restart=restart, reset_budget=reset_budget)
        saved = await self.store.write(lambda tx: self._restored(tx, runtime, order, asked, seen))
        return runtime_view(saved, self.fleet)

    def _restored(
        self, tx: Transaction, runtime: RuntimeId, order: RestoreOrder, asked: Request, seen: Seen
    ) -> Runtime:
        row = runtime_of(tx, runtime)
        if repeated(tx, asked) is not None:
            return row
        now, rows = self.clock.now(), members(tx, row)
        for each in rows:
            if not order.reset_budget and (refusal := restart_budget.objection(seen.get(each.id), now)):
                raise refusal
        for each in rows:
            _restore(tx, each, order, seen.get(each.id), now)
        remember(tx, asked)
        return runtime_of(tx, runtime)


def _restore(tx: Transaction, row: Runtime, order: RestoreOrder, seen: Instance | None, now: datetime) -> None:
    row = replace(row, restore=replace(order, serial=row.restore.serial + 1), desired_state=DesiredState.RUNNING)
    saved = save_runtime(tx, row, now)
    tx.journal.append(announcements.restore_requested(saved, now, "operator"))
    if seen and seen.state.serves and not order.restart:
        tx.journal.append(announcements.restore_completed(seen, now))
