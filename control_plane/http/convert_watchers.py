"""Watchers to what goes out."""

from __future__ import annotations

from datetime import datetime, timedelta

from control_plane.domain import watcher
from control_plane.http import watcher_shapes as shapes
from control_plane.http.convert import stamp


def watchers_to_json(of: watcher.Watchers) -> shapes.RuntimeWatchers:
    status = of.status
    return shapes.RuntimeWatchers(
        updated_at=stamp(of.update_time),
        status=status,
        status_label=status.label,
        severity=status.severity,
        severity_label=status.severity.label,
        watchers=[_watcher(one, of.update_time) for one in of.watchers],
    )


def _watcher(of: watcher.Watcher, now: datetime) -> shapes.Watcher:
    status, error = of.status, of.last_error
    return shapes.Watcher(
        id=of.area,
        label=of.area.label,
        status=status,
        status_label=status.label,
        severity=status.severity,
        severity_label=status.severity.label,
        summary=of.summary,
        paths=list(of.paths),
        files=of.files,
        last_ok_at=_stamp(of.last_ok),
        last_ok_age_ms=_age_ms(of, now),
        last_reason=of.last_reason,
        last_reason_at=_stamp(of.last_reason_time),
        last_error=error.text if error else "",
        last_error_remedy=error.remedy if error else "",
        last_error_at=_stamp(of.last_error_time),
        status_since=_stamp(of.since),
    )


def _age_ms(of: watcher.Watcher, now: datetime) -> int | None:
    age = of.ok_age(now)
    return None if age is None else age // timedelta(milliseconds=1)


def _stamp(at: datetime | None) -> str | None:
    return stamp(at) if at else None
