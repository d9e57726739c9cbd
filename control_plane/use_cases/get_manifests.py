from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from control_plane.domain.ids import RuntimeId
from control_plane.domain.manifest_sources import ManifestSources
from control_plane.domain.runtime import Runtime
from control_plane.use_cases.ports import Clock, Store

TOPICS = ("runtime.manifests.",)
NEWS = 10


@dataclass(frozen=True, slots=True)
class GetManifests:
    """Which files are loaded, who declared each runtime, and how the last reloads went."""

    store: Store
    clock: Clock
    paths: tuple[str, ...]

    async def __call__(self) -> ManifestSources:
        runtimes, news = await self.store.read(lambda tx: (tx.runtimes.all(), tx.journal.newest(TOPICS, NEWS)))
        return ManifestSources(self.paths, _by_source(runtimes), tuple(news), self.clock.now())


def _by_source(runtimes: Iterable[Runtime]) -> Mapping[str, tuple[RuntimeId, ...]]:
    found: dict[str, list[RuntimeId]] = defaultdict(list)
    for runtime in runtimes:
        found[runtime.source].append(runtime.id)
    return {source: tuple(sorted(found[source])) for source in sorted(found)}
