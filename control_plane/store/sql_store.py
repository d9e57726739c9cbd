"""What both SQL stores have in common: one writer, some readers, and history that is cut."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TypeVar

from control_plane.domain.event import EventsKept
from control_plane.store.listeners import Listeners
from control_plane.store.retention import PRUNED_AT_ONCE
from control_plane.store.writer import Writer
from control_plane.use_cases.ports import USUALLY_KEPT, Transaction

T = TypeVar("T")


class SqlStore(ABC):
    """Fills the ports Store and Upkeep."""

    def __init__(self, writer: Writer, listeners: Listeners, readers: int) -> None:
        self._writer = writer
        self._listeners = listeners
        self._threads = ThreadPoolExecutor(readers, "store-reader")

    async def write(self, change: Callable[[Transaction], T]) -> T:
        return await self._writer.write(change)

    async def read(self, query: Callable[[Transaction], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, query)

    def is_newest(self, revision: int) -> bool:
        """Another process may have committed meanwhile, where another one may write."""
        del revision
        return False

    def on_change(self, listener: Callable[[int], None]) -> Callable[[], None]:
        return self._listeners.add(listener)

    async def compact(self, keep_revisions: int) -> int:
        return await self._writer.write(lambda transaction: transaction.compact(keep_revisions))

    async def prune(self, now: datetime, kept: EventsKept = USUALLY_KEPT) -> int:
        total = pruned = await self._writer.write(lambda transaction: transaction.prune(now, kept))
        while pruned == PRUNED_AT_ONCE:
            pruned = await self._writer.write(lambda transaction: transaction.prune(now, kept))
            total += pruned
        return total

    async def close(self) -> None:
        """End after the changes that wait are committed."""
        await self._writer.close()
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._dispose)

    @abstractmethod
    def _read(self, query: Callable[[Transaction], T]) -> T:
        """On a reader's thread."""

    @abstractmethod
    def _dispose(self) -> None:
        """Of every connection."""
