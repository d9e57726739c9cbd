"""Loops that wake on change, with a tick as a safety net."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from control_plane.domain.errors import StorageUnavailable

_log = structlog.get_logger()


class Chore:
    """Does one thing whenever its bell rang, and every `period` in any case; never twice within `pause`."""

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
            try:
                await self._act()
            except StorageUnavailable as refusal:
                _log.warning("chore_postponed", chore=self._name, text=refusal.text)
            await asyncio.sleep(self._pause.total_seconds())
            await self._rung()

    async def _rung(self) -> None:
        try:
            async with asyncio.timeout(self._period.total_seconds()):
                await self._bell.wait()
        except TimeoutError:
            return
