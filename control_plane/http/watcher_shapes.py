"""How the control plane does what it does by itself, as JSON."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from control_plane.domain.instance import Severity
from control_plane.domain.watcher import WatchArea, WatchReason, WatchStatus
from control_plane.http.shapes import Shape, Stamp


class Watcher(Shape):
    """One area. It is degraded from a look that failed to the next one that does not, however long that takes."""

    ticking = frozenset({"last_ok_at", "last_ok_age_ms"})

    id: WatchArea
    label: str
    status: WatchStatus
    status_label: str
    severity: Severity
    severity_label: str
    summary: str
    paths: Annotated[list[str], Meta(description="What was named to it")]
    files: Annotated[int, Meta(ge=0, description="How many it found there")]
    last_ok_at: Annotated[Stamp | None, Meta(description="The last look at which all was well")] = None
    last_ok_age_ms: Annotated[int, Meta(ge=0)] | None = None
    last_reason: Annotated[WatchReason | None, Meta(description="Why it was loaded last")] = None
    last_reason_at: Stamp | None = None
    last_error: Annotated[str, Meta(description="What was wrong last, also once that is over")] = ""
    last_error_remedy: str = ""
    last_error_at: Annotated[Stamp | None, Meta(description="When that was first seen")] = None
    status_since: Annotated[Stamp | None, Meta(description="When the status became what it is")] = None


class RuntimeWatchers(Shape):
    """What is loaded by itself whenever it changes, in id order."""

    ticking = frozenset({"updated_at"})

    updated_at: Stamp
    status: Annotated[WatchStatus, Meta(description="Of the worst of them")]
    status_label: str
    severity: Severity
    severity_label: str
    watchers: list[Watcher]
