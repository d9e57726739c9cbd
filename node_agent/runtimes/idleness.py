"""Tells when nothing is asked of an engine any more, and when something is again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from node_agent.runtimes.report import Report


class Idleness:
    """Two reports for each time that it is in use, however many requests there are; none where nobody is to know."""

    def __init__(
        self, report: Report, asked: Callable[[], bool], quiet: timedelta, now: Callable[[], datetime]
    ) -> None:
        """`asked`: whether it has a request in hand. `quiet`: without one for so long, it is idle."""
        self._report = report
        self._asked = asked
        self._quiet = quiet
        self._now = now
        self._told = False
        self._used: datetime | None = None
        self._next: asyncio.TimerHandle | None = None

    def tell(self, told: bool) -> None:
        """Whether anybody is to know, from now on."""
        before, self._told = self._told, told
        if told and not before:
            self.used()
        elif before and not told:
            self._report.in_use()

    def used(self) -> None:
        """A request came, or it has just begun to serve."""
        if not self._told or not self._report.status.state.serves:
            return
        self._used = self._now()
        self._report.in_use()
        if self._next is None:
            self._look_after(self._quiet)

    def _look_after(self, wait: timedelta) -> None:
        self._next = asyncio.get_running_loop().call_later(wait.total_seconds(), self._look)

    def _look(self) -> None:
        self._next, now = None, self._now()
        if self._used is None or not self._told or not self._report.status.state.serves:
            return
        if self._asked():
            self._used = now
        left = self._used + self._quiet - now
        if left > timedelta():
            self._look_after(min(left, self._quiet))
        else:
            self._report.idle(self._used)
