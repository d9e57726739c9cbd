from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from control_plane.domain.ids import ModelId, NodeId, RuntimeId
from control_plane.domain.model import Model
from control_plane.domain.node import Node
from control_plane.domain.runtime import Runtime
from control_plane.use_cases.ports import Store, Transaction

Key = TypeVar("Key", bound=str)
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Changed:
    """The rows that were put or deleted between two looks."""

    nodes: frozenset[NodeId] = frozenset()
    runtimes: frozenset[RuntimeId] = frozenset()
    models: frozenset[ModelId] = frozenset()
    hosts: frozenset[NodeId] = frozenset()
    """Where the changed runtimes were placed before, and are now."""


@dataclass(frozen=True, slots=True)
class _News:
    """Rows as they are now, None for those that are gone."""

    revision: int
    nodes: Mapping[NodeId, Node | None] = field(default_factory=dict)
    runtimes: Mapping[RuntimeId, Runtime | None] = field(default_factory=dict)
    models: Mapping[ModelId, Model | None] = field(default_factory=dict)


class Mirror:
    """Every node, runtime and model in memory, as of the last look. One for all who follow them; only on the loop.

    A look costs what changed since the one before, not what there is.
    """

    def __init__(self, store: Store) -> None:
        self.nodes: dict[NodeId, Node] = {}
        self.runtimes: dict[RuntimeId, Runtime] = {}
        self.models: dict[ModelId, Model] = {}
        self._store = store
        self._placed: dict[NodeId, set[RuntimeId]] = {}
        self._revision = -1
        self._one_at_a_time = asyncio.Lock()
        self._listeners: list[Callable[[Changed], None]] = []

    async def look(self) -> None:
        """Take in everything committed before the call. StorageUnavailable; then all is as before."""
        async with self._one_at_a_time:
            news = await self._store.read(self._news)
            if news.revision == self._revision:
                return
            changed = self._taken(news)
        for listener in tuple(self._listeners):
            listener(changed)

    def on_change(self, listener: Callable[[Changed], None]) -> Callable[[], None]:
        """Call `listener` after each look that found something. Returns how to stop."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def placed(self, node: NodeId) -> Iterable[Runtime]:
        """The runtimes whose place is this node, in id order."""
        return [self.runtimes[runtime] for runtime in sorted(self._placed.get(node, ()))]

    def load(self) -> dict[NodeId, int]:
        """How many runtimes are placed on each node."""
        return {node: len(runtimes) for node, runtimes in self._placed.items()}

    def _news(self, tx: Transaction) -> _News:
        revision = tx.revision()
        if revision == self._revision:
            return _News(revision)
        if self._revision < max(0, tx.compacted_revision()):
            return _News(
                revision,
                _whole(self.nodes, {row.id: row for row in tx.nodes.all()}),
                _whole(self.runtimes, {row.id: row for row in tx.runtimes.all()}),
                _whole(self.models, {row.id: row for row in tx.models.all()}),
            )
        named: dict[str, list[str]] = defaultdict(list)
        for change in tx.changes(self._revision):
            named[change.kind].append(change.name)
        return _News(
            revision,
            _some(tx.nodes.get, map(NodeId, named["nodes"])),
            _some(tx.runtimes.get, map(RuntimeId, named["runtimes"])),
            _some(tx.models.get, map(ModelId, named["models"])),
        )

    def _taken(self, news: _News) -> Changed:
        hosts: set[NodeId] = set()
        for runtime, row in news.runtimes.items():
            hosts.update(self._moved(self.runtimes.get(runtime), row))
        _put(self.nodes, news.nodes)
        _put(self.runtimes, news.runtimes)
        _put(self.models, news.models)
        self._revision = news.revision
        return Changed(frozenset(news.nodes), frozenset(news.runtimes), frozenset(news.models), frozenset(hosts))

    def _moved(self, before: Runtime | None, after: Runtime | None) -> Iterator[NodeId]:
        if before is not None and before.node is not None:
            self._placed[before.node].discard(before.id)
            yield before.node
        if after is not None and after.node is not None:
            self._placed.setdefault(after.node, set()).add(after.id)
            yield after.node


def _whole(known: Iterable[Key], rows: Mapping[Key, Row]) -> dict[Key, Row | None]:
    """What was known and is no more reads None."""
    return {**dict.fromkeys(known), **rows}


def _some(get: Callable[[Key], Row | None], named: Iterable[Key]) -> dict[Key, Row | None]:
    return {key: get(key) for key in named}


def _put(rows: dict[Key, Row], news: Mapping[Key, Row | None]) -> None:
    for key, row in news.items():
        if row is None:
            rows.pop(key, None)
        else:
            rows[key] = row
