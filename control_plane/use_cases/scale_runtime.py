from __future__ import annotations

from dataclasses import dataclass, replace

from control_plane.domain.declaration import redeclared
from control_plane.domain.errors import InvalidArgument
from control_plane.domain.ids import MAX_LENGTH, RuntimeId
from control_plane.domain.runtime import Runtime
from control_plane.domain.runtime_set import MAX_REPLICAS, replica_ids
from control_plane.domain.view import RuntimeView
from control_plane.use_cases import announcements
from control_plane.use_cases.once import Request, remember, repeated, request
from control_plane.use_cases.ports import Clock, Fleet, Store, Transaction
from control_plane.use_cases.rows import match_etag, runtime_of, save_runtime
from control_plane.use_cases.runtime_sets import check_declared, follow
from control_plane.use_cases.views import runtime_view


@dataclass(frozen=True, slots=True)
class ScaleRuntime:
    """Change how many replicas a runtime has; those that stay go on as they are.

    NotFound, EtagMismatch; InvalidArgument for a replica, for a number that cannot be, and for ids that are taken.
    """

    store: Store
    fleet: Fleet
    clock: Clock

    async def __call__(self, runtime: RuntimeId, replicas: int, *, etag: str = "", request_id: str = "") -> RuntimeView:
        """`replicas`: with the runtime itself."""
        asked = request("ScaleRuntime", request_id, runtime, replicas, etag)
        saved = await self.store.write(lambda tx: self._scaled(tx, runtime, replicas, etag, asked))
        return runtime_view(saved, self.fleet)

    def _scaled(self, tx: Transaction, runtime: RuntimeId, replicas: int, etag: str, asked: Request) -> Runtime:
        row = runtime_of(tx, runtime)
        if repeated(tx, asked) is not None:
            return row
        check_declared(row, "scaled")
        match_etag(row.etag, etag)
        _check_number(replicas)
        _check_residence(row, replicas)
        _check_ids(tx, row, replicas)
        remember(tx, asked)
        if replicas == row.spec.replicas:
            return row
        now = self.clock.now()
        saved = save_runtime(tx, redeclared(row, replace(row.spec, replicas=replicas)), now)
        tx.journal.append(announcements.declared(saved, now, "updated"))
        follow(tx, row, saved, now, cause="scale")
        return saved


def _check_number(replicas: int) -> None:
    if not 1 <= replicas <= MAX_REPLICAS:
        raise InvalidArgument(f"A runtime cannot have {replicas} replicas.", f"Choose 1 to {MAX_REPLICAS}.")


def _check_residence(row: Runtime, replicas: int) -> None:
    if row.spec.residence.on_demand and replicas > 1:
        text = f"Runtime {row.id} is loaded on demand, and such a runtime has one replica."
        raise InvalidArgument(text, "Declare it without on_demand first.", runtime=row.id)


def _check_ids(tx: Transaction, row: Runtime, replicas: int) -> None:
    for replica in replica_ids(row.id, replicas):
        other = tx.runtimes.get(replica)
        if len(replica) > MAX_LENGTH:
            text, remedy = f"{replica} would be too long an id.", "Declare it under a shorter one."
        elif other is not None and other.replica_of != row.id:
            text = f"Runtime {replica} is no replica of {row.id}, and has the id that one would have."
            remedy = f"Delete it, or scale to {replica_ids(row.id, replicas).index(replica) + 1} at most."
        else:
            continue
        raise InvalidArgument(text, remedy, runtime=replica)
