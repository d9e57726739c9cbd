from __future__ import annotations

from dataclasses import dataclass, replace

from control_plane.domain.ids import RuntimeId
from control_plane.domain.runtime import DesiredState, Runtime
from control_plane.domain.view import RuntimeView
from control_plane.use_cases import announcements
from control_plane.use_cases.once import Request, request
from control_plane.use_cases.ports import Clock, Fleet, Store, Transaction
from control_plane.use_cases.rows import runtime_of, save_runtime
from control_plane.use_cases.runtime_sets import ordered
from control_plane.use_cases.views import runtime_view


@dataclass(frozen=True, slots=True)
class ShutdownRuntime:
    """Stop a runtime and its replicas until a restore, a boot with auto_start, or a changed manifest. NotFound."""

    store: Store
    fleet: Fleet
    clock: Clock

    async def __call__(self, runtime: RuntimeId, *, request_id: str = "") -> RuntimeView:
        asked = request("ShutdownRuntime", request_id, runtime)
        saved = await self.store.write(lambda tx: self._stopped(tx, runtime, asked))
        return runtime_view(saved, self.fleet)

    def _stopped(self, tx: Transaction, runtime: RuntimeId, asked: Request) -> Runtime:
        now = self.clock.now()
        for each in ordered(tx, runtime, asked):
            if each.desired_state is not DesiredState.STOPPED:
                tx.journal.append(announcements.of_runtime("runtime.shutdown.requested", each.id, now))
                save_runtime(tx, replace(each, desired_state=DesiredState.STOPPED), now)
        return runtime_of(tx, runtime)
