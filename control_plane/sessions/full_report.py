"""When a node has to be asked for everything it has."""

from __future__ import annotations

from datetime import datetime, timedelta


class FullReport:
    """Follows the sequence of a node's reports. A gap means asking, at most once every `interval`."""

    def __init__(self, interval: timedelta) -> None:
        self._interval = interval
        self._seq: int | None = None
        """Of the last report taken in; None before the first full one."""
        self._asked_at: datetime | None = None
        self._reason = ""

    def expected(self, now: datetime) -> None:
        """A node reports in full by itself when it is welcomed; ask only if that never comes."""
        self._asked_at, self._reason = now, "nothing was reported yet"

    def accepts(self, seq: int, *, full: bool) -> bool:
        """Whether the report builds on what is known."""
        if not full and (self._seq is None or seq != self._seq + 1):
            self._reason = self._reason or "a report is missing"
            return False
        self._seq = seq
        if full:
            self._reason = ""
        return True

    def told(self, seq: int) -> None:
        """The node says how many reports it made."""
        if self._seq is not None and seq > self._seq:
            self._reason = self._reason or "a report is missing"

    @property
    def wanted(self) -> bool:
        """Whether there is a reason to ask, now or later."""
        return bool(self._reason)

    def due(self, now: datetime) -> str:
        """Why to ask now; empty when there is no need, or not yet. A clock that was set back makes it due."""
        if not self._reason or (self._asked_at is not None and timedelta() <= now - self._asked_at < self._interval):
            return ""
        self._asked_at = now
        return self._reason
