from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial

from control_plane.domain.event import Event, keyed
from control_plane.use_cases.paging import MAX_SIZE
from control_plane.use_cases.ports import Store, Transaction

CHUNK = 100
"""What each watcher holds of the journal at most, however slowly it is read."""
READS_AT_ONCE = 2
"""Of all watchers together, so that a crowd of them leaves the store's readers to others."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    events: tuple[Event, ...]
    seen: int
    """Everything up to this id was looked at."""
    more: bool = False


@dataclass(frozen=True, slots=True)
class WatchEvents:
    """Journal rows after `after_id`, else the newest `replay`, then new ones as they come. Each at least once."""

    store: Store
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(READS_AT_ONCE))

    async def __call__(
        self, prefixes: Sequence[str] = (), *, after_id: int | None = None, replay: int = 0
    ) -> AsyncGenerator[Event, None]:
        async with aclosing(self.chunks(prefixes, after_id=after_id, replay=replay)) as chunks:
            async for chunk in chunks:
                for event in chunk:
                    yield event

    async def chunks(
        self, prefixes: Sequence[str] = (), *, after_id: int | None = None, replay: int = 0
    ) -> AsyncGenerator[Sequence[Event], None]:
        """The same, as many at once as there are, up to some."""
        bell = asyncio.Event()
        stop = self.store.on_change(lambda _: bell.set())
        try:
            chunk = await self._read(partial(_first, prefixes=prefixes, after_id=after_id, replay=replay))
            while True:
                if chunk.events:
                    yield chunk.events
                if not chunk.more:
                    await bell.wait()
                    bell.clear()
                chunk = await self._read(partial(_next, prefixes=prefixes, seen=chunk.seen))
        finally:
            stop()

    async def _read(self, query: Callable[[Transaction], _Chunk]) -> _Chunk:
        async with self._turns:
            return await self.store.read(query)


def _first(tx: Transaction, prefixes: Sequence[str], after_id: int | None, replay: int) -> _Chunk:
    if after_id is not None:
        return _next(tx, prefixes, after_id)
    events = tx.journal.newest(prefixes, min(replay, MAX_SIZE)) if replay else ()
    return _Chunk(keyed(events, tx.history_id()), tx.journal.last_id())


def _next(tx: Transaction, prefixes: Sequence[str], seen: int) -> _Chunk:
    """A short chunk means that nothing up to the newest id was left out."""
    found = tx.journal.after(seen, prefixes, CHUNK)
    events = keyed(found, tx.history_id()) if found else ()
    if len(events) == CHUNK:
        return _Chunk(events, events[-1].id, more=True)
    return _Chunk(events, max(seen, tx.journal.last_id()))
