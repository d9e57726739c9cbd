from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from control_plane.domain.ids import ModelId, NodeId, RuntimeId
from control_plane.domain.model import Model
from control_plane.domain.node import Node
from control_plane.domain.runtime import Runtime
from control_plane.use_cases.change_log import ChangeLog, Named, put
from control_plane.use_cases.ports import Store, Transaction


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

    nodes: Mapping[NodeId, Node | None]
    runtimes: Mapping[RuntimeId, Runtime | None]
    models: Mapping[ModelId, Model | None]


class Mirror:
    """Every node, runtime and model in memory, as of the last look. One for all who follow them; only on the loop.

    A look costs what changed since the one before, not what there is.
    """

    def __init__(self, store: Store) -> None:
        self.nodes: dict[NodeId, Node] = {}
        self.runtimes: dict[RuntimeId, Runtime] = {}
        self.models: dict[ModelId, Model] = {}
        self._log = ChangeLog(store, self._news)
        self._placed: dict[NodeId, set[RuntimeId]] = {}
        self._listeners: list[Callable[[Changed], None]] = []

    async def look(self) -> None:
        """Take in everything committed before the call. StorageUnavailable; then all is as before."""
        async with self._log.look() as news:
            if news is None:
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

    def _news(self, tx: Transaction, named: Named) -> _News:
        return _News(
            named.rows("nodes", tx.nodes, NodeId, self.nodes),
            named.rows("runtimes", tx.runtimes, RuntimeId, self.runtimes),
            named.rows("models", tx.models, ModelId, self.models),
        )

    def _taken(self, news: _News) -> Changed:
        hosts: set[NodeId] = set()
        for runtime, row in news.runtimes.items():
            hosts.update(self._moved(self.runtimes.get(runtime), row))
        put(self.nodes, news.nodes)
        put(self.runtimes, news.runtimes)
        put(self.models, news.models)
        return Changed(frozenset(news.nodes), frozenset(news.runtimes), frozenset(news.models), frozenset(hosts))

    def _moved(self, before: Runtime | None, after: Runtime | None) -> Iterator[NodeId]:
        if before is not None and before.node is not None:
            self._placed[before.node].discard(before.id)
            yield before.node
        if after is not None and after.node is not None:
            self._placed.setdefault(after.node, set()).add(after.id)
            yield after.node
