from __future__ import annotations

from dataclasses import dataclass, replace

from control_plane.domain import restart_budget
from control_plane.domain.ids import RuntimeId
from control_plane.domain.instance import Instance
from control_plane.domain.runtime import DesiredState, RestoreOrder, Runtime
from control_plane.domain.view import RuntimeView
from control_plane.use_cases import announcements
from control_plane.use_cases.once import Request, remember, repeated, request
from control_plane.use_cases.ports import Clock, Fleet, Store, Transaction
from control_plane.use_cases.rows import runtime_of, save_runtime
from control_plane.use_cases.views import runtime_view


@dataclass(frozen=True, slots=True)
class RestoreRuntime:
    """Start a runtime that is stopped or failed; never at the cost of its budget.

    NotFound; RestartBudgetExhausted when it failed with nothing left, unless the budget is reset.
    """

    store: Store
    fleet: Fleet
    clock: Clock

    async def __call__(
        self, runtime: RuntimeId, *, restart: bool = False, reset_budget: bool = False, request_id: str = ""
    ) -> RuntimeView:
        asked = request("RestoreRuntime", request_id, runtime, restart, reset_budget)
        seen = runtime_view(await self.store.read(lambda tx: runtime_of(tx, runtime)), self.fleet)
        order = RestoreOrder(restart=restart, reset_budget=reset_budget)
        saved = await self.store.write(lambda tx: self._restored(tx, runtime, order, asked, seen.instance))
        return runtime_view(saved, self.fleet)

    def _restored(
        self, tx: Transaction, runtime: RuntimeId, order: RestoreOrder, asked: Request, seen: Instance | None
    ) -> Runtime:
        row = runtime_of(tx, runtime)
        if repeated(tx, asked) is not None:
            return row
        now = self.clock.now()
        if not order.reset_budget and (refusal := restart_budget.objection(seen, now)):
            raise refusal
        row = replace(row, restore=replace(order, serial=row.restore.serial + 1), desired_state=DesiredState.RUNNING)
        saved = save_runtime(tx, row, now)
        tx.journal.append(announcements.restore_requested(saved, now, "operator"))
        if seen and seen.state.serves and not order.restart:
            tx.journal.append(announcements.restore_completed(seen, now))
        remember(tx, asked)
        return saved
