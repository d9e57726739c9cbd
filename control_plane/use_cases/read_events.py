from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from control_plane.domain.event import Event, keyed
from control_plane.use_cases.paging import size_of
from control_plane.use_cases.ports import Store, Transaction


@dataclass(frozen=True, slots=True)
class ListEvents:
    """Journal rows whose topic starts with any prefix, the newest last; with `after_id` the oldest after it."""

    store: Store

    async def __call__(self, prefixes: Sequence[str] = (), page_size: int = 0, after_id: int = 0) -> tuple[Event, ...]:
        limit = size_of(page_size)

        def query(tx: Transaction) -> tuple[Event, ...]:
            found = tx.journal.after(after_id, prefixes, limit) if after_id else tx.journal.newest(prefixes, limit)
            return keyed(found, tx.history_id())

        return await self.store.read(query)
