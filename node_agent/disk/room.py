"""Watches the disks that the agent writes to, and keeps room for its own records."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import structlog

from node_agent.disk.ballast import Ballast
from node_agent.domain.disk_room import Room, beside_ballast, gives_up_ballast, is_short, pressure, takes_ballast
from node_agent.domain.status import Problem

LOOK_EVERY = timedelta(seconds=2)
_log = structlog.get_logger()


def room_of(folder: Path) -> Room | None:
    """None: it is not there, or cannot be asked."""
    try:
        seen = shutil.disk_usage(folder)
    except OSError as error:
        _log.warning("disk_not_asked", folder=str(folder), error=str(error))
        return None
    return Room(str(folder), seen.free, seen.total)


class DiskWatch:
    """`folders`: the first one holds the agent's records and the ballast; others count when they are other disks."""

    def __init__(
        self, folders: Sequence[Path], ballast: Ballast, look: Callable[[Path], Room | None] = room_of
    ) -> None:
        self._folders = folders
        self._ballast = ballast
        self._look_at = look
        self._problem: Problem | None = None
        self._listeners: list[Callable[[], None]] = []

    def problem(self) -> Problem | None:
        """Why nothing new is taken; None: there is room. As of when it began."""
        return self._problem

    def on_change(self, listener: Callable[[], None]) -> None:
        """Called on the loop when it begins and when it is over."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY.total_seconds())

    async def look(self) -> None:
        self._judge(await asyncio.to_thread(self._looked))

    def begin(self) -> None:
        """The first look, before anything is planned. Blocks."""
        self._judge(self._looked())

    def _judge(self, rooms: Sequence[Room]) -> None:
        short = [room for room in rooms if is_short(room, was=self._problem is not None)]
        if bool(short) is (self._problem is not None):
            return
        self._problem = pressure(short[0]) if short else None
        if self._problem is not None:
            _log.error("disk_pressure", text=self._problem.text, remedy=self._problem.remedy)
        else:
            _log.info("disk_pressure_over")
        for listener in self._listeners:
            listener()

    def _looked(self) -> list[Room]:
        """With the ballast as it has to be."""
        records, *others = (self._look_at(folder) for folder in _apart(self._folders))
        beside = None if records is None else self._trimmed(records)
        return [room for room in (beside, *others) if room is not None]

    def _trimmed(self, room: Room) -> Room:
        there = self._ballast.is_there()
        beside = beside_ballast(room, ballast=there)
        if there and gives_up_ballast(room):
            self._ballast.free()
        elif not there and takes_ballast(beside):
            self._ballast.make()
        return beside


def _apart(folders: Sequence[Path]) -> list[Path]:
    """The first one, and of the others those that lie on disks of their own."""
    found: dict[int, Path] = {}
    for folder in folders:
        with suppress(OSError):
            found.setdefault(folder.stat().st_dev, folder)
    return list(found.values()) or [folders[0]]
