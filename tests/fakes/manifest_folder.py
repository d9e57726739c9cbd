"""A watched folder of manifests, and the control plane that watches it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from control_plane.domain.event import Event
from control_plane.domain.ids import ModelId
from control_plane.domain.model import Model
from control_plane.domain.runtime import DesiredState
from control_plane.domain.watcher import WatchArea, Watcher
from control_plane.manifests.files import ManifestPaths
from control_plane.manifests.model_digests import ModelDigests
from control_plane.manifests.model_files import ModelFiles
from control_plane.manifests.profiles import ProfileFiles
from control_plane.manifests.reader import Reader
from control_plane.manifests.watch import ManifestWatch
from control_plane.use_cases.reload_manifests import ReloadManifests
from control_plane.use_cases.report_watchers import ReportWatchers
from tests.fakes.control_plane import World

SETTLE = timedelta(seconds=2)
AN_HOUR_NS = 3600 * 10**9
"""Model files that a test writes are as old as that."""


def entry(name: str, more: str = "") -> str:
    return f'[[runtimes]]\nid = "{name}"\nadapter = "llama.cpp"\nmodel = "tiny"\n{more}'


def manifest(*entries: str) -> str:
    return "version = 1\n" + "".join(entries)


@dataclass
class Folder:
    path: Path
    world: World = field(default_factory=World)
    watch: ManifestWatch = field(init=False)
    report: ReportWatchers = field(init=False)
    named: tuple[Path, ...] = ()
    writes: int = 0
    slice_s: float = 10.0
    """How long one look may read model files."""

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """As after a restart: nothing is remembered."""
        world, paths = self.world, ManifestPaths(self.named, (self.path,))
        reload = ReloadManifests(world.store, world.clock, world.randomness)
        digests = ModelDigests(self.path.parent / f"{self.path.name}-digests.json")
        models = ModelFiles(digests, lambda: time.time_ns() + AN_HOUR_NS, self.slice_s)
        self.report = ReportWatchers(world.store, world.clock, paths.areas)
        profiles = ProfileFiles(self.path / "profiles")
        self.watch = ManifestWatch(paths, Reader(profiles), reload, models, self.report, world.clock, SETTLE, profiles)

    def write(self, text: str | bytes, name: str = "a.toml", *, settled: bool = True) -> Path:
        path = self.path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        now = self.world.clock.now().timestamp()
        self.settle(path) if settled else os.utime(path, (now, now))
        return path

    def settle(self, path: Path) -> None:
        """Last written long ago, and at another time than any before it."""
        self.writes += 1
        os.utime(path, (self.writes, self.writes))

    async def holds(self, text: str | bytes, name: str = "a.toml") -> None:
        self.write(text, name)
        await self.watch()

    async def runtimes(self) -> list[str]:
        return [row.id for row in await self.world.store.read(lambda tx: tx.runtimes.all())]

    async def said(self) -> Sequence[Event]:
        return await self.world.events("runtime.manifests.")

    async def refusals(self) -> list[str]:
        return [event.payload["text"] for event in await self.said() if event.kind.endswith("refused")]

    async def model(self, name: str = "tiny") -> Model | None:
        return await self.world.store.read(lambda tx: tx.models.get(ModelId(name)))

    async def watcher(self, area: WatchArea = WatchArea.MANIFEST_DIRECTORY) -> Watcher:
        return next(watcher for watcher in await self.report.seen() if watcher.area is area)

    async def health(self) -> list[tuple[str, str]]:
        """What was told of the areas."""
        told = await self.world.events("service.health")
        return [(event.payload["id"], event.payload["status"]) for event in told]

    async def wanted(self, name: str) -> DesiredState:
        return (await self.world.runtime(name)).desired_state
