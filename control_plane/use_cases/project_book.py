from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from control_plane.domain.ids import KeyId, ProjectId
from control_plane.domain.project import Project, ProjectKey
from control_plane.use_cases.ports import Store, Transaction


@dataclass(frozen=True, slots=True)
class _News:
    """Rows as they are now, None for those that are gone."""

    revision: int
    projects: dict[ProjectId, Project | None] = field(default_factory=dict)
    keys: dict[KeyId, ProjectKey | None] = field(default_factory=dict)


class ProjectBook:
    """Every project and key in memory, as of the last look. One for all who follow them; only on the loop.

    A look costs what changed since the one before, not what there is.
    """

    def __init__(self, store: Store) -> None:
        self.projects: dict[ProjectId, Project] = {}
        self.keys: dict[KeyId, ProjectKey] = {}
        self._store = store
        self._revision = -1
        self._one_at_a_time = asyncio.Lock()

    async def look(self) -> None:
        """Take in everything committed before the call. StorageUnavailable; then all is as before."""
        async with self._one_at_a_time:
            news = await self._store.read(self._news)
            self._revision = news.revision
            for project, row in news.projects.items():
                if row is None:
                    self.projects.pop(project, None)
                else:
                    self.projects[project] = row
            for key, held in news.keys.items():
                if held is None:
                    self.keys.pop(key, None)
                else:
                    self.keys[key] = held

    def keys_of(self, project: ProjectId) -> Sequence[ProjectKey]:
        """The oldest first."""
        found = (key for key in self.keys.values() if key.project == project)
        return sorted(found, key=lambda key: (key.create_time, key.id))

    def _news(self, tx: Transaction) -> _News:
        revision = tx.revision()
        if revision == self._revision:
            return _News(revision)
        if self._revision < max(0, tx.compacted_revision()):
            return _News(
                revision,
                {**dict.fromkeys(self.projects), **{row.id: row for row in tx.projects.all()}},
                {**dict.fromkeys(self.keys), **{row.id: row for row in tx.project_keys.all()}},
            )
        named: dict[str, set[str]] = defaultdict(set)
        for change in tx.changes(self._revision):
            named[change.kind].add(change.name)
        return _News(
            revision,
            {id_: tx.projects.get(id_) for id_ in map(ProjectId, named["projects"])},
            {id_: tx.project_keys.get(id_) for id_ in map(KeyId, named["project_keys"])},
        )
