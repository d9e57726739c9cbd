"""Writes of those loops of which only one may run, however many replicas there are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol, TypeVar

from control_plane.domain.errors import NotLeading
from control_plane.domain.event import EventsKept
from control_plane.use_cases.ports import USUALLY_KEPT, Store, Transaction, Upkeep

T = TypeVar("T")


class KeptStore(Store, Upkeep, Protocol):
    """A store whose history can be cut."""


class FencedStore:
    """Fills the ports Store and Upkeep for the replica that leads in the term that `term` gives; 0: it does not.

    A change is stored only while that term lasts, which is compared in the change's own transaction; else NotLeading.
    """

    def __init__(self, store: KeptStore, term: Callable[[], int]) -> None:
        self._store = store
        self._term = term

    async def write(self, change: Callable[[Transaction], T]) -> T:
        # Now, not when its turn comes: what is to be changed was decided in this term.
        held = self._term()
        if not held:
            raise _not_leading(held)

        def fenced(transaction: Transaction) -> T:
            if transaction.term() != held:
                raise _not_leading(held)
            return change(transaction)

        return await self._store.write(fenced)

    async def read(self, query: Callable[[Transaction], T]) -> T:
        return await self._store.read(query)

    def is_newest(self, revision: int) -> bool:
        return self._store.is_newest(revision)

    def on_change(self, listener: Callable[[int], None]) -> Callable[[], None]:
        return self._store.on_change(listener)

    async def compact(self, keep_revisions: int) -> int:
        await self._check()
        return await self._store.compact(keep_revisions)

    async def prune(self, now: datetime, kept: EventsKept = USUALLY_KEPT) -> int:
        await self._check()
        return await self._store.prune(now, kept)

    async def _check(self) -> None:
        """In a transaction of its own: forgetting what is old does no harm when two do it."""
        await self.write(lambda _: None)


def _not_leading(term: int) -> NotLeading:
    return NotLeading(f"this replica does not lead in term {term}" if term else "this replica does not lead")
