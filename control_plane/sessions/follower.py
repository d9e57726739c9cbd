"""Reads desired state for every stream that needs it, many at once, and wakes those that a change touches."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Protocol

import structlog

from control_plane.domain.errors import StorageUnavailable
from control_plane.domain.ids import NodeId
from control_plane.domain.node import Node
from control_plane.sessions.desired_feed import DesiredPage, Wanted
from control_plane.use_cases.ports import Store, Transaction

READS_AT_ONCE = 100

_log = structlog.get_logger()


class Reader(Protocol):
    """An admitted stream."""

    @property
    def node(self) -> NodeId: ...

    def wanted(self) -> Wanted: ...

    def loaded(self, page: DesiredPage) -> None: ...

    def wake(self) -> None:
        """Its desired state may have changed."""


class Seats(Protocol):
    def reader(self, node: NodeId) -> Reader | None: ...

    def recheck(self, node: NodeId, row: Node | None) -> None:
        """The node's own row changed: end its stream when that counts no more."""

    def begun_anew(self, history_id: str) -> None:
        """The store lives in another history now: every stream has to look, and ends."""


@dataclass(frozen=True, slots=True)
class _News:
    history_id: str
    revision: int
    desired: Sequence[NodeId]
    """Nodes whose desired state changed."""
    rows: Mapping[NodeId, Node | None]
    """Nodes whose own row changed."""
    pages: Sequence[DesiredPage]


class DesiredFollower:
    """Follows the store's revisions. One task reads for all, so a change of one node costs one transaction."""

    def __init__(self, store: Store, seats: Seats, retry: timedelta = timedelta(seconds=1)) -> None:
        self._store = store
        self._seats = seats
        self._retry = retry
        self._cursor: int | None = None
        self._history = ""
        self._bell = asyncio.Event()
        self._waiting: dict[Reader, None] = {}

    def load(self, reader: Reader) -> None:
        """Read for this stream soon; `Reader.loaded` gets the page."""
        self._waiting[reader] = None
        self._bell.set()

    def drop(self, reader: Reader) -> None:
        self._waiting.pop(reader, None)

    async def run(self) -> None:
        stop = self._store.on_change(self._told)
        try:
            while True:
                await self._bell.wait()
                self._bell.clear()
                await self._round()
        finally:
            stop()

    def _told(self, revision: int) -> None:
        """Events alone leave the revision as it was, and desired state too."""
        if revision != self._cursor:
            self._bell.set()

    async def _round(self) -> None:
        readers = tuple(islice(self._waiting, READS_AT_ONCE))
        wanted = [(reader.node, reader.wanted()) for reader in readers]
        cursor = self._cursor
        try:
            news = await self._store.read(lambda tx: _read(tx, cursor, wanted))
        except StorageUnavailable as refusal:
            _log.warning("desired_state_unreadable", text=refusal.text)
            await asyncio.sleep(self._retry.total_seconds())
            self._bell.set()
            return
        if self._history not in ("", news.history_id):
            self._seats.begun_anew(news.history_id)
        self._cursor, self._history = news.revision, news.history_id
        self._deliver(readers, news)

    def _deliver(self, readers: Iterable[Reader], news: _News) -> None:
        for reader, page in zip(readers, news.pages, strict=True):
            # One that left meanwhile is no longer listed.
            if self._waiting.pop(reader, reader) is None:
                reader.loaded(page)
        for node, row in news.rows.items():
            self._seats.recheck(node, row)
        for node in news.desired:
            if seated := self._seats.reader(node):
                seated.wake()
        if self._waiting:
            self._bell.set()


def _read(tx: Transaction, cursor: int | None, wanted: Sequence[tuple[NodeId, Wanted]]) -> _News:
    revision, history, floor = tx.revision(), tx.history_id(), tx.compacted_revision()
    moved = cursor is not None and revision > cursor
    changed = tx.changes(cursor) if cursor is not None and moved else ()
    return _News(
        history,
        revision,
        tx.desired.changed_nodes(cursor) if cursor is not None and moved else (),
        {NodeId(c.name): tx.nodes.get(NodeId(c.name)) for c in changed if c.kind == "nodes"},
        [_page(tx, node, want, (history, revision, floor)) for node, want in wanted],
    )


def _page(tx: Transaction, node: NodeId, want: Wanted, head: tuple[str, int, int]) -> DesiredPage:
    history, revision, floor = head
    live = tuple(tx.desired.live(node)) if want.whole else None
    return DesiredPage(history, revision, floor, tuple(tx.desired.since(node, want.since)), live)
