from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field

from control_plane.domain.ids import RuntimeId
from control_plane.domain.runtime import Runtime
from control_plane.domain.view import RuntimeView
from control_plane.use_cases.ports import Fleet, Store, Transaction
from control_plane.use_cases.rows import runtime_of
from control_plane.use_cases.views import runtime_view


@dataclass(frozen=True, slots=True)
class RuntimeChange:
    runtime: RuntimeId | None = None
    """None: only a mark."""
    view: RuntimeView | None = None
    """None: deleted, or a mark."""
    deleted: bool = False
    synced: bool = False
    """Everything that existed at the start was sent before."""


@dataclass(slots=True)
class _Feed:
    """What one watcher has to look at, and what it was sent."""

    only: RuntimeId | None
    fleet: Fleet
    bell: asyncio.Event = field(default_factory=asyncio.Event)
    revision: int = -1
    newest: int = 0
    rows: dict[RuntimeId, Runtime] = field(default_factory=dict)
    sent: dict[RuntimeId, RuntimeView] = field(default_factory=dict)

    def store_changed(self, revision: int) -> None:
        self.newest = max(self.newest, revision)
        self.bell.set()

    def load(self, tx: Transaction) -> tuple[int, dict[RuntimeId, Runtime]]:
        """Everything at first and after compaction, else only what the change log names."""
        if self.revision < max(0, tx.compacted_revision()):
            named = [self.only] if self.only else [row.id for row in tx.runtimes.all()]
            return tx.revision(), _rows(tx, named)
        changed = {RuntimeId(change.name) for change in tx.changes(self.revision) if change.kind == "runtimes"}
        named = [runtime for runtime in changed if self.only in (None, runtime)]
        kept = {runtime: row for runtime, row in self.rows.items() if runtime not in changed}
        return tx.revision(), kept | _rows(tx, named)

    def news(self) -> Iterator[RuntimeChange]:
        views = {runtime: runtime_view(self.rows[runtime], self.fleet) for runtime in sorted(self.rows)}
        gone = [runtime for runtime in self.sent if runtime not in views]
        changed = [(runtime, view) for runtime, view in views.items() if self.sent.get(runtime) != view]
        self.sent = views
        yield from (RuntimeChange(runtime, deleted=True) for runtime in gone)
        yield from (RuntimeChange(runtime, view) for runtime, view in changed)


@dataclass(frozen=True, slots=True)
class WatchRuntimes:
    """The runtimes now, a mark, then every change, as views. A slow watcher skips to the newest view.

    NotFound when the one asked for does not exist at the start.
    """

    store: Store
    fleet: Fleet

    async def __call__(self, runtime: RuntimeId | None = None) -> AsyncIterator[RuntimeChange]:
        if runtime is not None:
            await self.store.read(lambda tx: runtime_of(tx, runtime))
        feed = _Feed(runtime, self.fleet)
        stops = (self.store.on_change(feed.store_changed), self.fleet.on_instance(lambda *_: feed.bell.set()))
        try:
            for change in await self._news(feed):
                yield change
            yield RuntimeChange(synced=True)
            while True:
                await feed.bell.wait()
                for change in await self._news(feed):
                    yield change
        finally:
            for stop in stops:
                stop()

    async def _news(self, feed: _Feed) -> tuple[RuntimeChange, ...]:
        """The bell is cleared before the look, so that nothing between the two is missed."""
        feed.bell.clear()
        if feed.revision < feed.newest or feed.revision < 0:
            feed.revision, feed.rows = await self.store.read(feed.load)
        return tuple(feed.news())


def _rows(tx: Transaction, named: Iterable[RuntimeId]) -> dict[RuntimeId, Runtime]:
    return {runtime: row for runtime in named if (row := tx.runtimes.get(runtime))}
