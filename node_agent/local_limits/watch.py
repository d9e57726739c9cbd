"""The owner's file as it stands now: read again when it changes, each reading in the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from node_agent.domain.limits import Limits
from node_agent.local_limits.measure import Machine, UnreadableError

LOOK_EVERY = timedelta(seconds=2)
_log = structlog.get_logger()

_Mark = tuple[int, int, int, int, int, int] | None


class LimitsFile:
    """`required`: it was named, so its absence is a fault; a default one need not be there."""

    def __init__(self, path: Path, machine: Machine, now: Callable[[], datetime], *, required: bool) -> None:
        self._path = path
        self._machine = machine
        self._now = now
        self._required = required
        self._listeners: list[Callable[[], None]] = []
        self._poke = asyncio.Event()
        self._mark = _mark(path)
        self._limits = self._read()

    def limits(self) -> Limits:
        return self._limits

    def on_change(self, listener: Callable[[], None]) -> None:
        """Called on the loop after a reading that changed something, and whenever the hours begin or end."""
        self._listeners.append(listener)

    def reload(self) -> None:
        """Read it now, changed or not."""
        self._poke.set()

    async def run(self) -> None:
        """Look at it until cancelled."""
        self._journal()
        was_open = self._is_open()
        while True:
            changed = self._look(asked=await self._pause())
            if changed or was_open != self._is_open():
                was_open = self._is_open()
                for listener in self._listeners:
                    listener()

    async def _pause(self) -> bool:
        """True: somebody asked for a look."""
        try:
            async with asyncio.timeout(LOOK_EVERY.total_seconds()):
                await self._poke.wait()
        except TimeoutError:
            return False
        self._poke.clear()
        return True

    def _look(self, *, asked: bool) -> bool:
        """True when the limits are others now."""
        mark = _mark(self._path)
        if mark == self._mark and not asked:
            return False
        self._mark = mark
        before, self._limits = self._limits, self._read()
        self._journal()
        return self._limits != before

    def _read(self) -> Limits:
        if self._mark is None and not self._required and not self._path.is_symlink():
            return Limits()
        from node_agent.local_limits.reading import read  # noqa: PLC0415 - most machines have no such file

        try:
            return read(self._path, self._machine)
        except UnreadableError as error:
            return Limits(file=str(self._path), unreadable=str(error))

    def _is_open(self) -> bool:
        hours = self._limits.hours
        return hours is None or hours.is_open(self._now())

    def _journal(self) -> None:
        if self._limits.unreadable:
            _log.error("limits_unreadable", file=self._limits.file, why=self._limits.unreadable)
        else:
            _log.info("limits_read", file=self._limits.file or "none")


def _mark(path: Path) -> _Mark:
    """Something else when the file is; None when it is not there. Its mode and owner count too."""
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_mode, seen.st_uid
