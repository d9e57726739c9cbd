"""What people want to know now of an engine, asked once however many want to know."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog

from node_agent.runtimes.events import Look
from node_agent.runtimes.report import MAX_ANSWERED, Report

log = structlog.get_logger()


class Inquiries:
    """Answered by the status, which names the requests."""

    def __init__(self, report: Report) -> None:
        self.look: Look | None = None
        """Of the engine that serves."""
        self._report = report
        self._waiting: list[str] = []
        self._group: asyncio.TaskGroup | None = None
        self._answering: asyncio.Task[None] | None = None

    @contextmanager
    def answered(self, group: asyncio.TaskGroup) -> Iterator[None]:
        """In this group for as long as the block; what is asked later is not."""
        self._group = group
        try:
            yield
        finally:
            self._group = None

    def ask(self, request: str) -> None:
        if request not in (*self._waiting, *self._report.status.answered_probes):
            self._waiting = [*self._waiting, request][-MAX_ANSWERED:]
        if self._group is not None and (self._answering is None or self._answering.done()):
            self._answering = self._group.create_task(self._answer())

    async def _answer(self) -> None:
        while self._waiting:
            requests, self._waiting = self._waiting, []
            self._report.answers(requests, await self._asked())

    async def _asked(self) -> timedelta | None:
        """None: no engine serves, or it did not answer."""
        look = self.look
        if look is None or not self._serves:
            return None
        try:
            found = await look()
        except Exception:
            # Of an adapter that is not ours: who looks after the engine meets it too, and says so.
            log.exception("engine_not_asked", instance=self._report.status.name)
            return None
        if found is None or look is not self.look or not self._serves:
            return None
        self._report.probed(found.latency, found.misses, found.gauges)
        return found.latency

    @property
    def _serves(self) -> bool:
        return self._report.status.state.serves
