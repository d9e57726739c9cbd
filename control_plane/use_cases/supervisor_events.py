"""What the journal says of processes, beside the states that they bring about."""

from __future__ import annotations

from datetime import datetime

from control_plane.domain.event import Event
from control_plane.domain.supervisor_log import LogEntry
from control_plane.use_cases.announcements import of_runtime


def supervisor_log(entry: LogEntry, now: datetime) -> Event:
    """Never a line of the engine's own log: that may hold what people asked."""
    instance, ended = entry.instance, entry.ended
    return of_runtime(
        "runtime.supervisor.log",
        instance.runtime,
        now,
        node=instance.node,
        event=entry.deed.value,
        severity=entry.severity.value,
        severity_label=entry.severity.label,
        text=entry.text,
        incarnation=entry.incarnation,
        engine=instance.engine,
        pid=instance.process.engine_pid if instance.process is not None and ended is None else None,
        exit_code=ended.exit_code if ended is not None else None,
        signal=ended.signal if ended is not None else None,
        oom_killed=ended is not None and ended.oom_killed,
    )
