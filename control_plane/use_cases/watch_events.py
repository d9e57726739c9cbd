from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial

from control_plane.domain.event import Event
from control_plane.use_cases.paging import MAX_SIZE
from control_plane.use_cases.ports import Store, Transaction

CHUNK = 500


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

    async def __call__(
        self, prefixes: Sequence[str] = (), *, after_id: int | None = None, replay: int = 0
    ) -> AsyncIterator[Event]:
        bell = asyncio.Event()
        stop = self.store.on_change(lambda _: bell.set())
        try:
            chunk = await self.store.read(lambda tx: _first(tx, prefixes, after_id, replay))
            while True:
                for event in chunk.events:
                    yield event
                if not chunk.more:
                    await bell.wait()
                    bell.clear()
                chunk = await self.store.read(partial(_next, prefixes=prefixes, seen=chunk.seen))
        finally:
            stop()


def _first(tx: Transaction, prefixes: Sequence[str], after_id: int | None, replay: int) -> _Chunk:
    if after_id is not None:
        return _next(tx, prefixes, after_id)
    events = tx.journal.newest(prefixes, min(replay, MAX_SIZE)) if replay else ()
    return _Chunk(tuple(events), tx.journal.last_id())


def _next(tx: Transaction, prefixes: Sequence[str], seen: int) -> _Chunk:
    """A short chunk means that nothing up to the newest id was left out."""
    events = tuple(tx.journal.after(seen, prefixes, CHUNK))
    if len(events) == CHUNK:
        return _Chunk(events, events[-1].id, more=True)
    return _Chunk(events, max(seen, tx.journal.last_id()))
