"""What the control plane looks at by itself, and how that goes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from control_plane.domain.instance import Severity
from control_plane.domain.problem import Problem

HANGS_AFTER = timedelta(seconds=30)
"""A look that takes longer is a trouble of its own."""


class WatchArea(StrEnum):
    MANIFEST_DIRECTORY = "manifest_directory"
    MANIFEST_FILES = "manifest_files"

    @property
    def label(self) -> str:
        return self.value.replace("_", " ").capitalize()


class WatchStatus(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"

    @property
    def label(self) -> str:
        return self.value.capitalize()

    @property
    def severity(self) -> Severity:
        return Severity.INFO if self is WatchStatus.OK else Severity.WARN


class WatchReason(StrEnum):
    """Why an area was loaded."""

    START = "start"
    CONTENT_CHANGED = "content_changed"
    PATHS_CHANGED = "paths_changed"


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at an area found."""

    files: int
    problem: Problem | None = None
    """What is wrong there, or keeps what changed there from being loaded."""
    reason: WatchReason | None = None
    """None: nothing was loaded."""
    waits: str = ""
    """What is still to come before what changed can be loaded, when nothing is wrong; empty: nothing."""


@dataclass(frozen=True, slots=True)
class Watcher:
    """One area. It is degraded from a look that failed to the next one that does not, however long that takes."""

    area: WatchArea
    paths: tuple[str, ...]
    """What was named to it."""
    files: int = 0
    problem: Problem | None = None
    """What is wrong now."""
    waits: str = ""
    """What it waits for, when nothing is wrong."""
    last_ok: datetime | None = None
    """None: all was never well, or another replica looks."""
    last_reason: WatchReason | None = None
    last_reason_time: datetime | None = None
    last_error: Problem | None = None
    """What was wrong last, also once that is over."""
    last_error_time: datetime | None = None
    """When that was first seen."""
    since: datetime | None = None
    """When the status became what it is; None: it never was another."""

    @property
    def status(self) -> WatchStatus:
        return WatchStatus.OK if self.problem is None else WatchStatus.DEGRADED

    @property
    def summary(self) -> str:
        if self.problem is not None:
            return self.problem.text
        if self.waits:
            return f"Not loaded yet: {self.waits}"
        if self.last_ok is None:
            return "Nothing is known to be wrong"
        return f"All is loaded: {self.files} file{'s'[: self.files != 1]}"

    def ok_age(self, now: datetime) -> timedelta | None:
        return None if self.last_ok is None else max(now - self.last_ok, timedelta())

    def after(self, look: Look, now: datetime) -> Watcher:
        if look.waits and look.problem is None:
            return replace(self, waits=look.waits, files=look.files)
        seen = self.troubled(look.problem, now) if look.problem is not None else self._well(now)
        if look.reason is not None:
            seen = replace(seen, last_reason=look.reason, last_reason_time=now)
        return replace(seen, files=look.files, waits="")

    def troubled(self, problem: Problem, now: datetime) -> Watcher:
        since = now if self.problem is None else self.since
        seen = replace(self, problem=problem, since=since)
        return seen if problem == self.last_error else replace(seen, last_error=problem, last_error_time=now)

    def _well(self, now: datetime) -> Watcher:
        return replace(self, problem=None, last_ok=now, since=self.since if self.problem is None else now)


@dataclass(frozen=True, slots=True)
class Watchers:
    watchers: tuple[Watcher, ...]
    """In id order."""
    update_time: datetime

    @property
    def status(self) -> WatchStatus:
        troubled = any(watcher.status is WatchStatus.DEGRADED for watcher in self.watchers)
        return WatchStatus.DEGRADED if troubled else WatchStatus.OK
