from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from control_plane.domain.errors import InvalidArgument
from control_plane.domain.ids import RuntimeId
from control_plane.domain.placing.residents import asked_for
from control_plane.domain.runtime import DesiredState, Runtime
from control_plane.domain.view import RuntimeView
from control_plane.use_cases import residence_events
from control_plane.use_cases.once import Request, remember, repeated, request
from control_plane.use_cases.ports import Clock, Fleet, Store, Transaction
from control_plane.use_cases.rows import runtime_of, save_runtime
from control_plane.use_cases.runtime_sets import members
from control_plane.use_cases.views import runtime_view


@dataclass(frozen=True, slots=True)
class WakeRuntime:
    """Ask for a hibernated runtime and its replicas; what runs is left alone. NotFound.

    InvalidArgument for one that a person shut down.
    """

    store: Store
    fleet: Fleet
    clock: Clock

    async def __call__(self, runtime: RuntimeId, *, request_id: str = "") -> RuntimeView:
        asked = request("WakeRuntime", request_id, runtime)
        saved = await self.store.write(lambda tx: self._woken(tx, runtime, asked))
        return runtime_view(saved, self.fleet)

    async def for_request(self, runtime: RuntimeId) -> None:
        """A client's request names it. What was asked for already is not written again."""
        await self.store.write(lambda tx: self._asked(tx, runtime))

    def _woken(self, tx: Transaction, runtime: RuntimeId, asked: Request) -> Runtime:
        row = runtime_of(tx, runtime)
        if repeated(tx, asked) is not None:
            return row
        if row.desired_state is DesiredState.STOPPED:
            text = f"Runtime {row.id} is shut down."
            raise InvalidArgument(text, f"Start it: `arwctl runtime restore {row.id}`.", runtime=row.id)
        remember(tx, asked)
        now = self.clock.now()
        for each in members(tx, row):
            _ask(tx, each, now, "operator")
        return runtime_of(tx, runtime)

    def _asked(self, tx: Transaction, runtime: RuntimeId) -> None:
        row = tx.runtimes.get(runtime)
        if row is not None and row.spec.residence.on_demand:
            _ask(tx, row, self.clock.now(), "request")


def _ask(tx: Transaction, row: Runtime, now: datetime, cause: str) -> None:
    waiting = asked_for(row, now)
    if waiting != row:
        tx.journal.append(residence_events.wake_requested(save_runtime(tx, waiting, now), now, cause))
