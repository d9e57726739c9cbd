from __future__ import annotations

from dataclasses import dataclass, replace

from control_plane.domain.errors import InvalidArgument, NotFound
from control_plane.domain.ids import ProjectId
from control_plane.domain.pin import Pin, check_pin
from control_plane.domain.project import MAX_NAME, MAX_PINS, Project, check_words
from control_plane.use_cases.ports import Clock, Store
from control_plane.use_cases.project_rows import change_project


@dataclass(frozen=True, slots=True)
class UpdateProject:
    """Name a project, disable it, or enable it again. NotFound, EtagMismatch, InvalidArgument."""

    store: Store
    clock: Clock

    async def __call__(
        self, project: ProjectId, *, display_name: str | None = None, disabled: bool | None = None, etag: str = ""
    ) -> Project:
        """None leaves a thing as it is."""
        check_words(display_name or "", MAX_NAME, "display name")

        def change(row: Project) -> Project:
            return replace(
                row,
                display_name=row.display_name if display_name is None else display_name,
                disabled=row.disabled if disabled is None else disabled,
            )

        return await self.store.write(lambda tx: change_project(tx, project, change, self.clock.now(), etag))


@dataclass(frozen=True, slots=True)
class SetProjectPin:
    """Hold what a project asks for by one name to a combination; the last word on a name counts.

    What fits nothing is taken too: it may be declared later. NotFound, EtagMismatch, InvalidArgument, InvalidId.
    """

    store: Store
    clock: Clock

    async def __call__(self, project: ProjectId, pin: Pin, *, etag: str = "") -> Project:
        check_pin(pin)

        def change(row: Project) -> Project:
            pins = sorted([*_others(row, pin.asked), pin], key=lambda each: each.asked)
            if len(pins) > MAX_PINS:
                text = f"Project {project} has {MAX_PINS} pins, and may have no more."
                raise InvalidArgument(text, "Remove one first: arwctl project unpin.", project=project)
            return replace(row, pins=tuple(pins))

        return await self.store.write(lambda tx: change_project(tx, project, change, self.clock.now(), etag))


@dataclass(frozen=True, slots=True)
class DeleteProjectPin:
    """Let all that go by a name serve the project again. NotFound, EtagMismatch."""

    store: Store
    clock: Clock

    async def __call__(self, project: ProjectId, asked: str, *, etag: str = "") -> Project:
        def change(row: Project) -> Project:
            if row.pin(asked) is None:
                raise NotFound(
                    f"Project {project} has no pin for {asked[:200]!r}.",
                    f"See which it has: arwctl project show {project}.",
                    project=project,
                )
            return replace(row, pins=_others(row, asked))

        return await self.store.write(lambda tx: change_project(tx, project, change, self.clock.now(), etag))


def _others(project: Project, asked: str) -> tuple[Pin, ...]:
    return tuple(pin for pin in project.pins if pin.asked != asked)
