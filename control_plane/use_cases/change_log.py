"""Following the change log of the store, for who keeps rows in memory."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Generic, Protocol, TypeVar

from control_plane.use_cases.ports import Store, Table, Transaction

SAFETY_SECONDS = 30.0
"""A look that the store says would find nothing is taken all the same after so long."""


class _Identified(Protocol):
    @property
    def id(self) -> str: ...


Key = TypeVar("Key", bound=str)
Row = TypeVar("Row", bound=_Identified)
News = TypeVar("News")


class Named:
    """Which rows changed since the last look, by kind; of a history that was cut, every row there is."""

    def __init__(self, names: Mapping[str, Collection[str]] | None) -> None:
        self._names = names

    def rows(
        self, kind: str, table: Table[Key, Row], key: Callable[[str], Key], known: Iterable[Key]
    ) -> dict[Key, Row | None]:
        """Those of this kind as they are now, None for those that are gone."""
        if self._names is None:
            return {**dict.fromkeys(known), **{key(row.id): row for row in table.all()}}
        return {each: table.get(each) for each in map(key, self._names.get(kind, ()))}


class ChangeLog(Generic[News]):
    """What changed since the last look. One look at a time; only on the loop.

    A look costs what changed since the one before, and no read where the store knows that nothing did.
    """

    def __init__(self, store: Store, query: Callable[[Transaction, Named], News]) -> None:
        self._store = store
        self._query = query
        self._one_at_a_time = asyncio.Lock()
        self._read_at = -SAFETY_SECONDS
        self.revision = -1
        """Of the last look that was taken in."""

    @asynccontextmanager
    async def look(self) -> AsyncIterator[News | None]:
        """Everything committed before the call, to be taken in within the block; None: nothing was.

        StorageUnavailable; then, as when the block fails, the next look finds it again.
        """
        async with self._one_at_a_time:
            if self._is_up_to_date():
                yield None
                return
            revision, news = await self._store.read(self._read)
            yield news
            self.revision, self._read_at = revision, asyncio.get_running_loop().time()

    def _is_up_to_date(self) -> bool:
        recent = asyncio.get_running_loop().time() - self._read_at < SAFETY_SECONDS
        return recent and self._store.is_newest(self.revision)

    def _read(self, tx: Transaction) -> tuple[int, News | None]:
        revision = tx.revision()
        if revision == self.revision:
            return revision, None
        return revision, self._query(tx, Named(self._names(tx)))

    def _names(self, tx: Transaction) -> Mapping[str, Collection[str]] | None:
        if self.revision < max(0, tx.compacted_revision()):
            return None
        names: dict[str, dict[str, None]] = defaultdict(dict)
        for change in tx.changes(self.revision):
            names[change.kind][change.name] = None
        return names


def put(rows: dict[Key, Row], news: Mapping[Key, Row | None]) -> None:
    """Take these in, and those out that are None."""
    for key, row in news.items():
        if row is None:
            rows.pop(key, None)
        else:
            rows[key] = row
