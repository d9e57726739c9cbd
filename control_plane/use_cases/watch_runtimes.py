from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.view import RuntimeView
from control_plane.use_cases.mirror import Changed, Mirror
from control_plane.use_cases.ports import Fleet, Store
from control_plane.use_cases.rows import no_runtime
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
class _Views:
    """One view of each runtime for all watchers: a crowd of them costs little more than one."""

    mirror: Mirror
    fleet: Fleet
    _known: dict[RuntimeId, RuntimeView] = field(default_factory=dict)

    def of(self, runtime: RuntimeId) -> RuntimeView | None:
        row = self.mirror.runtimes.get(runtime)
        if row is None:
            self._known.pop(runtime, None)
            return None
        view = runtime_view(row, self.fleet)
        if self._known.get(runtime) != view:
            self._known[runtime] = view
        return self._known[runtime]


@dataclass(slots=True)
class _Feed:
    """What one watcher has to look at, and what it was sent."""

    only: RuntimeId | None
    mirror: Mirror
    views: _Views
    bell: asyncio.Event = field(default_factory=asyncio.Event)
    touched: set[RuntimeId] = field(default_factory=set)
    sent: dict[RuntimeId, RuntimeView] = field(default_factory=dict)

    def store_changed(self, _revision: int) -> None:
        self.bell.set()

    def rows_changed(self, changed: Changed) -> None:
        self._touch(*changed.runtimes)
        for node in changed.nodes:
            self._touch(*(runtime.id for runtime in self.mirror.placed(node)))

    def instance_changed(self, _node: NodeId, runtime: RuntimeId) -> None:
        self._touch(runtime)

    def news(self) -> Iterator[RuntimeChange]:
        touched, self.touched = self.touched, set()
        for name in sorted(touched):
            view = self.views.of(name)
            if view is None:
                if self.sent.pop(name, None) is not None:
                    yield RuntimeChange(name, deleted=True)
            elif self.sent.get(name) != view:
                self.sent[name] = view
                yield RuntimeChange(name, view)

    def _touch(self, *runtimes: RuntimeId) -> None:
        of_mine = [runtime for runtime in runtimes if self.only in (None, runtime)]
        if of_mine:
            self.touched.update(of_mine)
            self.bell.set()


@dataclass(frozen=True, slots=True)
class WatchRuntimes:
    """The runtimes now, a mark, then every change, as views. A slow watcher skips to the newest view.

    NotFound when the one asked for does not exist at the start.
    """

    store: Store
    mirror: Mirror
    fleet: Fleet
    _views: _Views = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_views", _Views(self.mirror, self.fleet))

    async def __call__(self, runtime: RuntimeId | None = None) -> AsyncIterator[RuntimeChange]:
        await self.mirror.look()
        if runtime is not None and runtime not in self.mirror.runtimes:
            raise no_runtime(runtime)
        feed = _Feed(runtime, self.mirror, self._views)
        feed.touched.update(self.mirror.runtimes if runtime is None else [runtime])
        stops = (
            self.store.on_change(feed.store_changed),
            self.mirror.on_change(feed.rows_changed),
            self.fleet.on_instance(feed.instance_changed),
        )
        try:
            for change in tuple(feed.news()):
                yield change
            yield RuntimeChange(synced=True)
            while True:
                await feed.bell.wait()
                feed.bell.clear()
                await self.mirror.look()
                for change in tuple(feed.news()):
                    yield change
        finally:
            for stop in stops:
                stop()
