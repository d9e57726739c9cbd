from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from control_plane.domain.declaration import Outcome, declared
from control_plane.domain.errors import ManifestInvalid
from control_plane.domain.ids import RuntimeId
from control_plane.domain.manifest import Fault, Manifest, ManifestRuntime, Reloaded, manifest_invalid
from control_plane.domain.runtime import DesiredState, Runtime
from control_plane.use_cases import announcements
from control_plane.use_cases.declare_runtimes import check_models, forget, save_declared, undeclared
from control_plane.use_cases.ports import Clock, Randomness, Store, Transaction


@dataclass(frozen=True, slots=True)
class ReloadManifests:
    """Make runtimes what these files say, all of them as one change, or none. ManifestInvalid.

    What a file declared before and does not any more is removed; what was declared otherwise becomes the file's.
    """

    store: Store
    clock: Clock
    randomness: Randomness

    async def __call__(self, manifests: Sequence[Manifest], changed: Collection[str] = ()) -> Reloaded:
        """`changed`: the sources that say something new since the last time: their auto_start counts anew."""
        _check_unique(manifests)
        return await self.store.write(lambda tx: self._reloaded(tx, manifests, changed))

    async def refused(self, refusal: ManifestInvalid) -> None:
        """Tell in the journal why nothing was changed."""
        event = announcements.manifest_refused(refusal, self.clock.now())
        await self.store.write(lambda tx: tx.journal.append(event))

    def _reloaded(self, tx: Transaction, manifests: Sequence[Manifest], changed: Collection[str]) -> Reloaded:
        for manifest in manifests:
            check_models(tx, manifest)
        now = self.clock.now()
        removed = tuple(forget(tx, row, now) for row in list(undeclared(tx, manifests)))
        found = [
            self._saved(tx, entry, manifest.source, now, renewed=manifest.source in changed)
            for manifest in manifests
            for entry in manifest.runtimes
        ]
        told = Reloaded(
            tuple(runtime for runtime, outcome in found if outcome is Outcome.CREATED),
            tuple(runtime for runtime, outcome in found if outcome is Outcome.UPDATED),
            removed,
            sum(outcome is Outcome.UNCHANGED for _, outcome in found),
        )
        if told.changed or changed:
            sources = [manifest.source for manifest in manifests]
            tx.journal.append(announcements.manifests_reloaded(sources, told, now))
        return told

    def _saved(
        self, tx: Transaction, entry: ManifestRuntime, source: str, now: datetime, *, renewed: bool
    ) -> tuple[RuntimeId, Outcome]:
        existing = tx.runtimes.get(entry.id)
        row, outcome = declared(existing, entry, source=source, uid=self.randomness.uid(), now=now)
        row = replace(row, source=source, desired_state=_wanted(row) if renewed else row.desired_state)
        starts = outcome is not Outcome.UNCHANGED or (existing and row.desired_state is not existing.desired_state)
        if outcome is Outcome.UNCHANGED and row != existing:
            outcome = Outcome.UPDATED
        save_declared(tx, row, outcome, now, "reload" if starts else "")
        return entry.id, outcome


def _wanted(runtime: Runtime) -> DesiredState:
    return DesiredState.RUNNING if runtime.spec.auto_start else runtime.desired_state


def _check_unique(manifests: Sequence[Manifest]) -> None:
    first: dict[RuntimeId, str] = {}
    for manifest in manifests:
        faults = list(_taken(manifest, first))
        if faults:
            raise manifest_invalid(manifest.source, faults, "Declare each runtime in one file.")
        first |= {entry.id: manifest.source for entry in manifest.runtimes}


def _taken(manifest: Manifest, first: dict[RuntimeId, str]) -> Iterator[Fault]:
    for entry in manifest.runtimes:
        if entry.id in first:
            yield Fault(f"{first[entry.id]} declares it too", f"runtime {entry.id}", entry.line)
