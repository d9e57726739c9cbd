"""Reading and writing projects and their keys, with the refusals and the bookkeeping that every change needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from control_plane.domain import etag
from control_plane.domain.errors import NotFound
from control_plane.domain.event import Event
from control_plane.domain.ids import KeyId, ProjectId
from control_plane.domain.project import Project, ProjectKey
from control_plane.use_cases import project_events
from control_plane.use_cases.ports import Transaction
from control_plane.use_cases.rows import match_etag


def project_of(tx: Transaction, project: ProjectId) -> Project:
    row = tx.projects.get(project)
    if row is None:
        raise NotFound(f"There is no project {project}.", "See which there are: arwctl project list.", project=project)
    return row


def key_of(tx: Transaction, project: ProjectId, key: KeyId) -> ProjectKey:
    row = tx.project_keys.get(key)
    if row is None or row.project != project:
        raise NotFound(
            f"Project {project} has no key {key}.",
            f"See which it has: arwctl project key list {project}.",
            project=project,
            key=key,
        )
    return row


def keys_of(tx: Transaction, project: ProjectId) -> list[ProjectKey]:
    """The oldest first."""
    rows = (row for row in tx.project_keys.all() if row.project == project)
    return sorted(rows, key=lambda row: (row.create_time, row.id))


def save_project(
    tx: Transaction, project: Project, now: datetime, told: Callable[[Project, datetime], Event]
) -> Project:
    project = replace(project, update_time=now)
    project = replace(project, etag=etag.of_project(project))
    tx.projects.put(project)
    tx.journal.append(told(project, now))
    return project


def change_project(
    tx: Transaction, project: ProjectId, change: Callable[[Project], Project], now: datetime, given_etag: str
) -> Project:
    """A change that changes nothing takes no revision. NotFound, EtagMismatch."""
    before = project_of(tx, project)
    match_etag(before.etag, given_etag)
    after = change(before)
    return before if after == before else save_project(tx, after, now, project_events.project_updated)


def forget_key(tx: Transaction, key: KeyId) -> None:
    tx.project_keys.delete(key)
    tx.key_uses.delete(key)
