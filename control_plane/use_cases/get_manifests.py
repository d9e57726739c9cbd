from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from control_plane.domain.event import Event, keyed
from control_plane.domain.ids import RuntimeId
from control_plane.domain.manifest_sources import ManifestSources
from control_plane.domain.runtime import Runtime
from control_plane.use_cases.ports import Clock, Store, Transaction

TOPICS = ("runtime.manifests.",)
NEWS = 10


@dataclass(frozen=True, slots=True)
class GetManifests:
    """Which files are loaded, who declared each runtime, and how the last reloads went."""

    store: Store
    clock: Clock
    paths: tuple[str, ...]

    async def __call__(self) -> ManifestSources:
        runtimes, news = await self.store.read(lambda tx: (tx.runtimes.all(), _news(tx)))
        return ManifestSources(self.paths, _by_source(runtimes), news, self.clock.now())


def _news(tx: Transaction) -> tuple[Event, ...]:
    return keyed(tx.journal.newest(TOPICS, NEWS), tx.history_id())


def _by_source(runtimes: Iterable[Runtime]) -> Mapping[str, tuple[RuntimeId, ...]]:
    found: dict[str, list[RuntimeId]] = defaultdict(list)
    for runtime in (runtime for runtime in runtimes if runtime.replica_of is None):
        found[runtime.source].append(runtime.id)
    return {source: tuple(sorted(found[source])) for source in sorted(found)}
