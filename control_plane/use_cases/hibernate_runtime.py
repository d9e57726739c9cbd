from __future__ import annotations

from dataclasses import dataclass

from control_plane.domain.ids import RuntimeId
from control_plane.domain.placing.residents import hibernated
from control_plane.domain.residence import SleepCause
from control_plane.domain.runtime import Runtime
from control_plane.domain.view import RuntimeView
from control_plane.use_cases import residence_events
from control_plane.use_cases.once import Request, request
from control_plane.use_cases.ports import Clock, Fleet, Store, Transaction
from control_plane.use_cases.rows import runtime_of, save_runtime
from control_plane.use_cases.runtime_sets import ordered
from control_plane.use_cases.views import runtime_view


@dataclass(frozen=True, slots=True)
class HibernateRuntime:
    """Take a runtime and its replicas out of memory until they are asked for. NotFound."""

    store: Store
    fleet: Fleet
    clock: Clock

    async def __call__(self, runtime: RuntimeId, *, request_id: str = "") -> RuntimeView:
        asked = request("HibernateRuntime", request_id, runtime)
        saved = await self.store.write(lambda tx: self._hibernated(tx, runtime, asked))
        return runtime_view(saved, self.fleet)

    def _hibernated(self, tx: Transaction, runtime: RuntimeId, asked: Request) -> Runtime:
        now = self.clock.now()
        for each in ordered(tx, runtime, asked):
            if each.sleep is None or each.sleep.wake is not None:
                saved = save_runtime(tx, hibernated(each, SleepCause.OPERATOR, now), now)
                tx.journal.append(residence_events.hibernated(saved, now))
        return runtime_of(tx, runtime)
