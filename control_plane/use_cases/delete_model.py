from __future__ import annotations

from dataclasses import dataclass

from control_plane.domain.errors import InUse
from control_plane.domain.ids import ModelId
from control_plane.use_cases import announcements
from control_plane.use_cases.ports import Clock, Store, Transaction
from control_plane.use_cases.rows import match_etag, model_of


@dataclass(frozen=True, slots=True)
class DeleteModel:
    """Forget a model; its file stays. NotFound, EtagMismatch, InUse while a runtime names it or a job may put it."""

    store: Store
    clock: Clock

    async def __call__(self, model: ModelId, *, etag: str = "") -> None:
        await self.store.write(lambda tx: self._deleted(tx, model, etag))

    def _deleted(self, tx: Transaction, model: ModelId, etag: str) -> None:
        row = model_of(tx, model)
        match_etag(row.etag, etag)
        users = [runtime.id for runtime in tx.runtimes.all() if runtime.spec.model == model]
        if users:
            named = ", ".join(users[:5])
            raise InUse(f"Model {model} is used by {named}.", "Delete or change these runtimes first.", model=model)
        jobs = [job.id for job in tx.jobs.all() if job.needs(model)]
        if jobs:
            raise InUse(f"Model {model} is needed by job {jobs[0]}.", "Wait for it, or cancel it.", model=model)
        tx.models.delete(model)
        tx.journal.append(announcements.model_changed(row, self.clock.now(), "deleted"))
