from __future__ import annotations

from dataclasses import dataclass

from control_plane.domain.ids import RuntimeId
from control_plane.use_cases.once import Request, remember, repeated, request
from control_plane.use_cases.ports import Clock, Store, Transaction
from control_plane.use_cases.rows import match_etag, runtime_of
from control_plane.use_cases.runtime_sets import check_declared, forget


@dataclass(frozen=True, slots=True)
class DeleteRuntime:
    """Forget a runtime and its replicas; their nodes stop them.

    NotFound, EtagMismatch, InvalidArgument for a replica.
    """

    store: Store
    clock: Clock

    async def __call__(self, runtime: RuntimeId, *, etag: str = "", request_id: str = "") -> None:
        asked = request("DeleteRuntime", request_id, runtime, etag)
        await self.store.write(lambda tx: self._deleted(tx, runtime, etag, asked))

    def _deleted(self, tx: Transaction, runtime: RuntimeId, etag: str, asked: Request) -> None:
        if repeated(tx, asked) is not None:
            return
        row = runtime_of(tx, runtime)
        check_declared(row, "deleted")
        match_etag(row.etag, etag)
        forget(tx, row, self.clock.now())
        remember(tx, asked)
