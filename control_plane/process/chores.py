"""Loops that wake on change, with a tick as a safety net."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from control_plane.domain.errors import NotLeading, StorageUnavailable

_log = structlog.get_logger()


class Chore:
    """Does one thing whenever its bell rang, and every `period` in any case.

    Between two times lies at least `pause`, and at least what the first one took, so that it never fills the loop.
    """

    def __init__(
        self, name: str, act: Callable[[], Awaitable[object]], period: timedelta, pause: timedelta = timedelta()
    ) -> None:
        self._name = name
        self._act = act
        self._period = period
        self._pause = pause
        self._bell = asyncio.Event()

    def ring(self) -> None:
        self._bell.set()

    async def run(self) -> None:
        while True:
            self._bell.clear()
            started = time.monotonic()
            try:
                await self._act()
            except StorageUnavailable as refusal:
                _log.warning("chore_postponed", chore=self._name, text=refusal.text)
            except NotLeading:
                _log.info("chore_left_to_another", chore=self._name)
            await asyncio.sleep(max(self._pause.total_seconds(), time.monotonic() - started))
            await self._rung()

    async def _rung(self) -> None:
        try:
            async with asyncio.timeout(self._period.total_seconds()):
                await self._bell.wait()
        except TimeoutError:
            return
