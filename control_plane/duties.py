"""The loops of which there may be only one, however many replicas there are."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from control_plane.claims import Claims
from control_plane.domain.placing.situation import Calm
from control_plane.ground import Ground
from control_plane.manifests.files import ManifestPaths
from control_plane.manifests.model_digests import ModelDigests
from control_plane.manifests.model_files import ModelFiles
from control_plane.manifests.profiles import ProfileFiles
from control_plane.manifests.reader import Reader
from control_plane.manifests.watch import ManifestWatch
from control_plane.process.chores import Chore
from control_plane.replicas.circle import Circle
from control_plane.store.fenced import FencedStore
from control_plane.use_cases.allow_removals import AllowRemovals, Guards
from control_plane.use_cases.ask_probes import Prober
from control_plane.use_cases.boot_runtimes import BootRuntimes
from control_plane.use_cases.circumstances import Circumstances
from control_plane.use_cases.claims.prune_claims import PruneClaims
from control_plane.use_cases.get_matrix import GetMatrix
from control_plane.use_cases.jobs.book import JobBook
from control_plane.use_cases.jobs.prune_jobs import PruneJobs
from control_plane.use_cases.jobs.run_jobs import RunJobs
from control_plane.use_cases.place_runtimes import PlaceRuntimes
from control_plane.use_cases.publish_health import PublishHealth
from control_plane.use_cases.randomness import SystemRandomness
from control_plane.use_cases.release_drained import ReleaseDrained
from control_plane.use_cases.reload_manifests import ReloadManifests
from control_plane.use_cases.report_watchers import ReportWatchers
from control_plane.use_cases.settle_residents import SettleResidents

KEPT_REVISIONS = 100_000
COALESCE = timedelta(milliseconds=20)
HEALTH_PAUSE = timedelta(seconds=1)


class Nodes(Guards, Prober, Protocol):
    """Reaches connected nodes."""


class Duties:
    """What the leading replica does for all. Another one follows everything too, and takes over when it leads."""

    def __init__(
        self, on: Ground, circle: Circle, matrix: GetMatrix, nodes: Nodes, jobs: JobBook, *, claims: Claims
    ) -> None:
        mirror, fleet = matrix.mirror, matrix.fleet
        self._on = on
        self._circle = circle
        self._revision: int | None = None
        self._store = FencedStore(on.store, lambda: circle.term)
        self._kept = on.settings.events_kept(os.environ)
        rest = on.timers.rest
        calm, most = Calm(steady=rest, window=2 * rest, rest=rest), on.settings.most_runtimes(os.environ)
        self.circumstances = Circumstances(fleet, on.clock, calm, most_runtimes=most)
        self._placing = PlaceRuntimes(self._store, mirror, fleet, on.clock, self.circumstances)
        self._release = ReleaseDrained(mirror, fleet, AllowRemovals(self._store, fleet, on.clock, nodes))
        self.manifests = _manifest_watch(on, self._store)
        every, timers = self._led, on.timers
        publish = PublishHealth(matrix, self._store, on.clock, timers.place_every)
        self._places = every("place", self._place, timers.place_every, COALESCE)
        self._health = every("publish health", publish, timers.place_every, HEALTH_PAUSE)
        run_jobs = RunJobs(self._store, mirror, fleet, on.clock, prober=nodes, book=jobs, amnesty=timers.amnesty)
        self._jobs = every("jobs", run_jobs, timers.tick, COALESCE)
        self._settle = SettleResidents(
            self._store, mirror, fleet, on.clock, stay=timers.residence, circumstances=self.circumstances
        )
        self._residents = every("residents", self._settle, timers.tick, COALESCE)
        self._timed = (
            every("upkeep", self._tidy, timers.upkeep_every),
            *([every("manifests", self.manifests, timers.manifests_every)] if self.manifests.paths else ()),
        )
        settle_claims = claims.settling(self._store)
        self._claims = every("settle claims", settle_claims, timers.tick, COALESCE)
        circle.on_lead(run_jobs.led_anew)
        circle.on_lead(settle_claims.led_anew)
        circle.on_lead(self.ring)

    @property
    def chores(self) -> Sequence[Chore]:
        return (self._places, self._health, self._jobs, self._residents, self._claims, *self._timed)

    def ring(self) -> None:
        """Rows changed, or nodes came, went or said anew what is wrong with them."""
        self._places.ring()
        self._health.ring()
        self._jobs.ring()
        self._residents.ring()
        self._claims.ring()

    def follow(self, revision: int) -> None:
        """The store is there now; events alone leave its revision as it was."""
        if revision != self._revision:
            self._revision = revision
            self.ring()

    def ring_claims(self) -> None:
        """A node let go of what somebody may wait for."""
        self._claims.ring()

    def ring_health(self) -> None:
        """Instances changed."""
        self._health.ring()
        self._jobs.ring()
        if self._settle.concerned:
            self._residents.ring()
        self._claims.ring()

    async def begin(self) -> None:
        """For the first replica of all, before anything starts what the manifests no longer declare."""
        if self.manifests.paths and self._circle.leads:
            await self.manifests()
        await BootRuntimes(self._on.store, self._on.clock)()

    def _led(
        self, name: str, act: Callable[[], Awaitable[object]], period: timedelta, pause: timedelta = timedelta()
    ) -> Chore:
        async def if_leading() -> None:
            if self._circle.leads:
                await act()

        return Chore(name, if_leading, period, pause)

    async def _place(self) -> None:
        await self._placing()
        await self._release()

    async def _tidy(self) -> None:
        await self._store.prune(self._on.clock.now(), self._kept)
        await PruneJobs(self._store, self._on.clock)()
        await PruneClaims(self._store, self._on.clock)()
        await self._store.compact(KEPT_REVISIONS)


def _manifest_watch(on: Ground, store: FencedStore) -> ManifestWatch:
    settings = on.settings
    directories = (Path(settings.manifest_dir),) if settings.manifest_dir else ()
    paths = ManifestPaths(settings.manifest_files(os.environ), directories)
    reload = ReloadManifests(store, on.clock, SystemRandomness())
    models = ModelFiles(ModelDigests(on.paths.directory / "model_digests.json"))
    report = ReportWatchers(store, on.clock, paths.areas)
    profiles = ProfileFiles(settings.profile_folder(os.environ))
    return ManifestWatch(paths, Reader(profiles), reload, models, report, on.clock, on.timers.manifests_every, profiles)
