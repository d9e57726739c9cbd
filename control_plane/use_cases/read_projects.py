from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from control_plane.domain.ids import ProjectId, RuntimeId
from control_plane.domain.pin import Declared
from control_plane.domain.problem import Problem
from control_plane.domain.project import Project, ProjectKey
from control_plane.use_cases.mirror import Mirror
from control_plane.use_cases.paging import Page, page_of
from control_plane.use_cases.ports import Clock, Fleet, Store, Transaction
from control_plane.use_cases.project_book import ProjectBook
from control_plane.use_cases.project_rows import project_of
from control_plane.use_cases.views import runtime_view


@dataclass(frozen=True, slots=True)
class ProjectView:
    project: Project
    live_keys: int
    """Keys that count now."""
    fitting: Mapping[str, tuple[RuntimeId, ...]]
    """By the name that is asked for: the declared runtimes that its pin holds to."""

    def warnings(self, asked: str) -> list[Problem]:
        """Why the pin of this name may not do what was meant."""
        pin = self.project.pin(asked)
        if pin is None or self.fitting[asked]:
            return []
        text = f"No declared runtime that goes by {asked!r} has {pin.combination} now."
        does = "Until one has, others serve." if pin.fallback else "Until one has, requests for it are refused."
        return [Problem("NOT_FOUND", text, does)]


@dataclass(frozen=True, slots=True)
class ViewProjects:
    """Projects, each with what it has and what its pins hold to now."""

    book: ProjectBook
    mirror: Mirror
    fleet: Fleet
    clock: Clock

    async def __call__(self, *projects: Project) -> list[ProjectView]:
        await self.book.look()
        now = self.clock.now()
        live = Counter(key.project for key in self.book.keys.values() if not key.over(now))
        declared = await self._declared() if any(project.pins for project in projects) else Declared(())
        return [
            ProjectView(project, live[project.id], {pin.asked: declared.fitting(pin) for pin in project.pins})
            for project in projects
        ]

    async def _declared(self) -> Declared:
        await self.mirror.look()
        return Declared(runtime_view(runtime, self.fleet) for runtime in self.mirror.runtimes.values())


@dataclass(frozen=True, slots=True)
class GetProject:
    """NotFound."""

    store: Store

    async def __call__(self, project: ProjectId) -> Project:
        return await self.store.read(lambda tx: project_of(tx, project))


@dataclass(frozen=True, slots=True)
class ListProjects:
    """In id order. PageTokenInvalid."""

    store: Store

    async def __call__(self, page_size: int = 0, page_token: str = "") -> Page[Project]:
        return await self.store.read(lambda tx: page_of(tx.projects, "projects", page_size, page_token))


@dataclass(frozen=True, slots=True)
class KeyView:
    key: ProjectKey
    last_use: date | None
    """As far as it was written down."""


@dataclass(frozen=True, slots=True)
class ListProjectKeys:
    """All of a project, the oldest first. NotFound."""

    store: Store
    book: ProjectBook

    async def __call__(self, project: ProjectId) -> list[KeyView]:
        await self.book.look()
        keys = self.book.keys_of(project)
        return await self.store.read(lambda tx: _seen(tx, project, keys))


def _seen(tx: Transaction, project: ProjectId, keys: Sequence[ProjectKey]) -> list[KeyView]:
    project_of(tx, project)
    uses = [tx.key_uses.get(key.id) for key in keys]
    return [KeyView(key, use.day if use else None) for key, use in zip(keys, uses, strict=True)]


@dataclass(frozen=True, slots=True)
class Projects:
    """A read model: all of them, in id order."""

    projects: Sequence[ProjectView]
    update_time: datetime


@dataclass(frozen=True, slots=True)
class GetProjects:
    view: ViewProjects

    async def __call__(self) -> Projects:
        await self.view.book.look()
        rows = [row for _, row in sorted(self.view.book.projects.items())]
        return Projects(await self.view(*rows), self.view.clock.now())
