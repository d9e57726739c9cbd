from __future__ import annotations

from dataclasses import dataclass

from control_plane.domain.errors import InUse
from control_plane.domain.ids import ProjectId
from control_plane.use_cases import project_events
from control_plane.use_cases.once import Request, remember, repeated, request
from control_plane.use_cases.ports import Clock, Store, Transaction
from control_plane.use_cases.project_rows import forget_key, keys_of, project_of
from control_plane.use_cases.rows import match_etag


@dataclass(frozen=True, slots=True)
class DeleteProject:
    """Forget a project, its pins and its keys. NotFound, EtagMismatch; InUse while a key counts, unless forced."""

    store: Store
    clock: Clock

    async def __call__(self, project: ProjectId, *, etag: str = "", force: bool = False, request_id: str = "") -> None:
        asked = request("DeleteProject", request_id, project, etag, force)
        await self.store.write(lambda tx: self._deleted(tx, project, etag, force, asked))

    def _deleted(self, tx: Transaction, project: ProjectId, etag: str, force: bool, asked: Request) -> None:
        if repeated(tx, asked) is not None:
            return
        row, now = project_of(tx, project), self.clock.now()
        match_etag(row.etag, etag)
        keys = keys_of(tx, project)
        live = [key for key in keys if not key.over(now)]
        if live and not force:
            raise InUse(
                f"Project {project} has keys that count: {len(live)}.",
                f"Revoke them (arwctl project key list {project}), or delete it with --force.",
                project=project,
            )
        remember(tx, asked)
        for key in keys:
            forget_key(tx, key.id)
        tx.projects.delete(project)
        tx.journal.append(project_events.project_deleted(row, now))
