"""Writes that may come later than what they tell of."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar, cast

import structlog

from control_plane.domain.errors import StorageUnavailable
from control_plane.use_cases.ports import Store, Transaction
from wire.refusal import Refusal

T = TypeVar("T")

MAX_KEPT = 10_000

_log = structlog.get_logger()


class DeferredWrites:
    """Fills the port Store for those who record what is known in memory already, and need no answer.

    What cannot be stored now is kept, in order, until `flush` can store it: a database that is away ends no session.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: deque[Callable[[Transaction], Any]] = deque()

    async def write(self, change: Callable[[Transaction], T]) -> T:
        """None for a change that is kept for later."""
        if not self._kept:
            try:
                return await self._store.write(change)
            except StorageUnavailable as refusal:
                _log.warning("writes_deferred", text=refusal.text)
        if len(self._kept) == MAX_KEPT:
            self._kept.popleft()
            _log.error("deferred_write_lost", kept=MAX_KEPT)
        self._kept.append(change)
        return cast("T", None)

    async def read(self, query: Callable[[Transaction], T]) -> T:
        return await self._store.read(query)

    def is_newest(self, revision: int) -> bool:
        return self._store.is_newest(revision)

    def on_change(self, listener: Callable[[int], None]) -> Callable[[], None]:
        return self._store.on_change(listener)

    async def flush(self) -> None:
        """Store what is kept, as far as that is possible now. For one loop."""
        while self._kept:
            change = self._kept[0]
            try:
                await self._store.write(change)
            except StorageUnavailable:
                return
            except Refusal as refusal:
                # As of a session that was superseded meanwhile: the newer one speaks for the node.
                _log.info("deferred_write_refused", reason=refusal.reason)
            if self._kept[0] is change:
                self._kept.popleft()
