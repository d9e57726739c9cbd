from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from control_plane.domain.declaration import Outcome, declared
from control_plane.domain.errors import ManifestInvalid
from control_plane.domain.ids import ModelId, RuntimeId
from control_plane.domain.manifest import Fault, Manifest, ManifestRuntime, Reloaded, manifest_invalid
from control_plane.domain.runtime import DesiredState, Runtime
from control_plane.domain.runtime_set import names
from control_plane.use_cases import announcements
from control_plane.use_cases.create_model import NewModel, recorded
from control_plane.use_cases.declare_runtimes import check_models, check_sets, save_declared, undeclared
from control_plane.use_cases.ports import Clock, Randomness, Store, Transaction
from control_plane.use_cases.runtime_sets import forget

Brought = Mapping[str, Sequence[NewModel]]
"""Models by the source that brings them, in its order."""
_NOTHING: Brought = {}


@dataclass(frozen=True, slots=True)
class ReloadManifests:
    """Make runtimes what these files say, all of them as one change, or none. ManifestInvalid.

    What a file declared before and does not any more is removed; what was declared otherwise becomes the file's. The
    models that they bring are registered in the same change; one that is brought no more stays. A swapped model stays
    for as long as the file says of its runtime what it said at the swap.
    """

    store: Store
    clock: Clock
    randomness: Randomness

    async def __call__(
        self, manifests: Sequence[Manifest], changed: Collection[str] = (), models: Brought = _NOTHING
    ) -> Reloaded:
        """`changed`: the sources that say something new since the last time: their auto_start counts anew.

        `models`: what each source brings.
        """
        _check_unique(manifests)
        _check_agreed(manifests, models)
        return await self.store.write(lambda tx: self._reloaded(tx, manifests, changed, models))

    async def refused(self, refusal: ManifestInvalid) -> None:
        """Tell in the journal why nothing was changed."""
        event = announcements.manifest_refused(refusal, self.clock.now())
        await self.store.write(lambda tx: tx.journal.append(event))

    async def declaring(self, known: int) -> tuple[int, frozenset[str]] | None:
        """At which revision which sources declare anything; None while that is still `known`."""
        return await self.store.read(lambda tx: _declaring(tx) if tx.revision() != known else None)

    def _reloaded(
        self, tx: Transaction, manifests: Sequence[Manifest], changed: Collection[str], models: Brought
    ) -> Reloaded:
        now = self.clock.now()
        registered = tuple(self._registered(tx, models, now))
        for manifest in manifests:
            check_models(tx, manifest)
        removed = [gone for row in list(undeclared(tx, manifests)) for gone in forget(tx, row, now)]
        for manifest in manifests:
            check_sets(tx, manifest)
        found = [
            pair
            for manifest in manifests
            for entry in manifest.runtimes
            for pair in self._saved(tx, entry, manifest.source, now, renewed=manifest.source in changed)
        ]
        told = Reloaded(
            tuple(runtime for runtime, outcome in found if outcome is Outcome.CREATED),
            tuple(runtime for runtime, outcome in found if outcome is Outcome.UPDATED),
            (*removed, *(runtime for runtime, outcome in found if outcome is Outcome.REMOVED)),
            sum(outcome is Outcome.UNCHANGED for _, outcome in found),
            registered,
        )
        if told.changed or changed:
            sources = [manifest.source for manifest in manifests]
            tx.journal.append(announcements.manifests_reloaded(sources, told, now))
        return told

    def _registered(self, tx: Transaction, models: Brought, now: datetime) -> Iterator[ModelId]:
        """Those that were not registered so before."""
        for new in {new.id: new for brought in models.values() for new in brought}.values():
            before = tx.models.get(new.id)
            if recorded(tx, new, self.randomness.uid(), now) != before:
                yield new.id

    def _saved(
        self, tx: Transaction, entry: ManifestRuntime, source: str, now: datetime, *, renewed: bool
    ) -> list[tuple[RuntimeId, Outcome]]:
        existing = tx.runtimes.get(entry.id)
        swap = existing.spec if existing is not None and existing.declared == entry.spec else None
        entry = replace(entry, spec=swap or entry.spec)
        row, outcome = declared(existing, entry, source=source, uid=self.randomness.uid(), now=now)
        wanted = _wanted(row) if renewed else row.desired_state
        row = replace(row, source=source, desired_state=wanted, declared=row.declared if swap else None)
        starts = outcome is not Outcome.UNCHANGED or (existing and row.desired_state is not existing.desired_state)
        if outcome is Outcome.UNCHANGED and row != existing:
            outcome = Outcome.UPDATED
        saved = save_declared(tx, row, outcome, now, "reload" if starts else "")
        return [(row.id, outcome) for row, outcome in saved]


def _wanted(runtime: Runtime) -> DesiredState:
    asleep = runtime.sleep is not None and runtime.spec.residence.on_demand
    return DesiredState.RUNNING if runtime.spec.auto_start and not asleep else runtime.desired_state


def _declaring(tx: Transaction) -> tuple[int, frozenset[str]]:
    return tx.revision(), frozenset(runtime.source for runtime in tx.runtimes.all())


def _check_unique(manifests: Sequence[Manifest]) -> None:
    first: dict[RuntimeId, str] = {}
    for manifest in manifests:
        faults = list(_taken(manifest, first))
        if faults:
            raise manifest_invalid(manifest.source, faults, "Declare each runtime in one file.")
        first |= {name: manifest.source for entry in manifest.runtimes for name in names(entry)}


def _check_agreed(manifests: Sequence[Manifest], models: Brought) -> None:
    """That nobody brings another file under an id than those before."""
    first: dict[ModelId, tuple[NewModel, str]] = {}
    for manifest in manifests:
        faults = [
            Fault(f"{first[new.id][1]} brings another file as this model", f"model {new.id}", entry.line)
            for new, entry in zip(models.get(manifest.source, ()), manifest.models, strict=False)
            if new.id in first and first[new.id][0] != new
        ]
        if faults:
            raise manifest_invalid(manifest.source, faults, "Give one of them another id.")
        first |= {new.id: (new, manifest.source) for new in models.get(manifest.source, ())}


def _taken(manifest: Manifest, first: dict[RuntimeId, str]) -> Iterator[Fault]:
    for entry in manifest.runtimes:
        for name in names(entry):
            if name in first:
                yield Fault(f"{first[name]} declares it too", f"runtime {name}", entry.line)
