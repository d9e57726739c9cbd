"""What the journal says of projects. No secret, and nothing made of one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from control_plane.domain.event import Event
from control_plane.domain.ids import ProjectId, resource_name
from control_plane.domain.project import Project, ProjectKey
from control_plane.use_cases.announcements import stamp


def project_created(project: Project, now: datetime) -> Event:
    return Event("project.created", _subject(project.id), _project(project), time=now)


def project_updated(project: Project, now: datetime) -> Event:
    return Event("project.updated", _subject(project.id), _project(project), time=now)


def project_deleted(project: Project, now: datetime) -> Event:
    return Event("project.deleted", _subject(project.id), _project(project), time=now)


def key_created(key: ProjectKey, now: datetime) -> Event:
    return Event("project.key.created", _subject(key.project), _key(key), time=now)


def key_revoked(key: ProjectKey, now: datetime) -> Event:
    return Event("project.key.revoked", _subject(key.project), _key(key), time=now)


def _subject(project: ProjectId) -> str:
    return resource_name("projects", project)


def _project(project: Project) -> dict[str, Any]:
    return {
        "id": project.id,
        "display_name": project.display_name,
        "disabled": project.disabled,
        "pins": [pin.asked for pin in project.pins],
    }


def _key(key: ProjectKey) -> dict[str, Any]:
    expires = stamp(key.expire_time) if key.expire_time is not None else ""
    return {"project": key.project, "id": key.id, "label": key.label, "expires": expires}
