from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from control_plane.domain.ids import KeyId, ProjectId
from control_plane.domain.project import Project, ProjectKey
from control_plane.use_cases.change_log import ChangeLog, Named, put
from control_plane.use_cases.ports import Store, Transaction


@dataclass(frozen=True, slots=True)
class _News:
    """Rows as they are now, None for those that are gone."""

    projects: Mapping[ProjectId, Project | None]
    keys: Mapping[KeyId, ProjectKey | None]


class ProjectBook:
    """Every project and key in memory, as of the last look. One for all who follow them; only on the loop.

    A look costs what changed since the one before, not what there is.
    """

    def __init__(self, store: Store) -> None:
        self.projects: dict[ProjectId, Project] = {}
        self.keys: dict[KeyId, ProjectKey] = {}
        self._log = ChangeLog(store, self._news)

    async def look(self) -> None:
        """Take in everything committed before the call. StorageUnavailable; then all is as before."""
        async with self._log.look() as news:
            if news is not None:
                put(self.projects, news.projects)
                put(self.keys, news.keys)

    def keys_of(self, project: ProjectId) -> Sequence[ProjectKey]:
        """The oldest first."""
        found = (key for key in self.keys.values() if key.project == project)
        return sorted(found, key=lambda key: (key.create_time, key.id))

    def _news(self, tx: Transaction, named: Named) -> _News:
        return _News(
            named.rows("projects", tx.projects, ProjectId, self.projects),
            named.rows("project_keys", tx.project_keys, KeyId, self.keys),
        )
