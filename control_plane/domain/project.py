"""Who may ask for inference by keys of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from control_plane.domain.errors import InvalidArgument, InvalidId
from control_plane.domain.ids import KeyId, ProjectId, checked
from control_plane.domain.pin import Pin

MAX_NAME = 120
MAX_LABEL = 80
MAX_PINS = 200
MAX_KEYS = 200
"""Of one project, those that count no more included."""
MAX_TTL = timedelta(days=3650)
KEY_ID_BYTES = 10
"""Nobody looks whether an id is taken: of so many none comes twice."""
_HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Project:
    id: ProjectId
    uid: str
    etag: str
    create_time: datetime
    update_time: datetime
    display_name: str = ""
    disabled: bool = False
    """Its keys are refused while this is so."""
    pins: tuple[Pin, ...] = ()
    """In the order of the names asked for, each once."""

    def pin(self, asked: str) -> Pin | None:
        return next((pin for pin in self.pins if pin.asked == asked), None)


@dataclass(frozen=True, slots=True)
class ProjectKey:
    """Lets whoever holds it send inference requests for its project, and do nothing else."""

    id: KeyId
    project: ProjectId
    secret_sha256: str = field(repr=False)
    create_time: datetime
    label: str = ""
    expire_time: datetime | None = None
    """None: it does not expire."""
    revoke_time: datetime | None = None

    def over(self, now: datetime) -> str:
        """Why it does not count, in a word; empty while it does."""
        if self.revoke_time is not None:
            return "revoked"
        return "expired" if self.expire_time is not None and self.expire_time <= now else ""


@dataclass(frozen=True, slots=True)
class KeyUse:
    """When a key was last used, to the day (UTC)."""

    id: KeyId
    day: date


def check_project_id(project: ProjectId) -> None:
    """InvalidId."""
    checked(project, "project")
    if project.startswith("projects/"):
        raise InvalidId(f"{project!r} is no valid project id.", "Leave out 'projects/'.", id=project)


def check_words(text: str, most: int, what: str) -> None:
    """InvalidArgument for what is too long, or would not show as it is."""
    if len(text) > most or _HIDDEN.search(text):
        raise InvalidArgument(
            f"The {what} is refused.", f"Use at most {most} characters, without line ends and control characters."
        )


def check_ttl(ttl: timedelta | None) -> None:
    """InvalidArgument."""
    if ttl is not None and not timedelta() < ttl <= MAX_TTL:
        raise InvalidArgument("The key's life is out of range.", "Ask for more than 0 and at most ten years, or none.")
