from __future__ import annotations

from dataclasses import dataclass

from control_plane.domain.errors import AlreadyExists
from control_plane.domain.ids import ProjectId
from control_plane.domain.project import MAX_NAME, Project, check_project_id, check_words
from control_plane.use_cases.once import Request, remember, repeated, request
from control_plane.use_cases.ports import Clock, Randomness, Store, Transaction
from control_plane.use_cases.project_events import project_created
from control_plane.use_cases.project_rows import project_of, save_project


@dataclass(frozen=True, slots=True)
class CreateProject:
    """A new project, without keys or pins. InvalidId, InvalidArgument, AlreadyExists."""

    store: Store
    clock: Clock
    randomness: Randomness

    async def __call__(self, project: ProjectId, *, display_name: str = "", request_id: str = "") -> Project:
        check_project_id(project)
        check_words(display_name, MAX_NAME, "display name")
        asked = request("CreateProject", request_id, project, display_name)
        now = self.clock.now()
        new = Project(project, self.randomness.uid(), "", now, now, display_name)
        return await self.store.write(lambda tx: _created(tx, new, asked))


def _created(tx: Transaction, new: Project, asked: Request) -> Project:
    if repeated(tx, asked) is not None:
        return project_of(tx, new.id)
    if tx.projects.get(new.id) is not None:
        raise AlreadyExists(f"There is a project {new.id} already.", "Choose another id, or update it.", project=new.id)
    remember(tx, asked)
    return save_project(tx, new, new.create_time, project_created)
