"""What applying a manifest and reloading a file have in common."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime

from control_plane.domain.declaration import Outcome
from control_plane.domain.ids import ModelId, RuntimeId
from control_plane.domain.manifest import Fault, Manifest, manifest_invalid
from control_plane.domain.profile import profiled
from control_plane.domain.runtime import NO_MODEL, DesiredState, Runtime
from control_plane.domain.runtime_set import clashes, names, numbered
from control_plane.use_cases import announcements
from control_plane.use_cases.ports import Transaction
from control_plane.use_cases.rows import save_runtime
from control_plane.use_cases.runtime_sets import follow, members


def check_models(tx: Transaction, manifest: Manifest, brought: Collection[ModelId] = ()) -> None:
    """ManifestInvalid when a runtime needs a model that is neither registered nor brought along."""
    needing = [entry for entry in manifest.runtimes if entry.spec.model not in (NO_MODEL, *brought)]
    missing = {model for model in {entry.spec.model for entry in needing} if tx.models.get(model) is None}
    unknown = [entry for entry in needing if entry.spec.model in missing]
    if unknown:
        faults = [Fault(f"model {e.spec.model} is not registered", f"runtime {e.id}", e.line) for e in unknown]
        raise manifest_invalid(manifest.source, faults, "Register it first: `arwctl model add FILE`.")


def check_sets(tx: Transaction, manifest: Manifest, leaving: Collection[RuntimeId] = ()) -> None:
    """ManifestInvalid when a runtime would have the id of a replica, or a replica that of another runtime.

    `leaving`: what is there and will be gone.
    """
    faults = [*clashes(manifest.runtimes), *_taken(tx, manifest, leaving)]
    if faults:
        remedy = "Give it another id, or scale the other: `arwctl runtime scale`; nothing was changed."
        raise manifest_invalid(manifest.source, faults, remedy)


def save_declared(
    tx: Transaction, runtime: Runtime, outcome: Outcome, now: datetime, cause: str = "manifest"
) -> list[tuple[Runtime, Outcome]]:
    """Write what is new, and say so; of its replicas too, which come after it.

    `cause` of its start; empty: it is not started by this.
    """
    if outcome is Outcome.UNCHANGED:
        return [(row, outcome) for row in members(tx, runtime)]
    before = tx.runtimes.get(runtime.id)
    saved = save_runtime(tx, runtime, now)
    tx.journal.append(announcements.declared(saved, now, outcome.value))
    if before is not None and profiled(before.spec) != profiled(saved.spec):
        tx.journal.append(announcements.profile_changed(saved, before, now))
    if cause and saved.desired_state is DesiredState.RUNNING:
        tx.journal.append(announcements.restore_requested(saved, now, cause))
    return [(saved, outcome), *follow(tx, before, saved, now, heed=heeds(before, saved), cause=cause)]


def heeds(before: Runtime | None, after: Runtime) -> bool:
    """Whether this is also meant for replicas that were stopped or restored one by one."""
    if before is None or before == after:
        return False
    return after.spec.auto_start or before.desired_state is not after.desired_state


def undeclared(tx: Transaction, manifests: Iterable[Manifest]) -> Iterator[Runtime]:
    """What the sources of these manifests declared before, and do not any more; replicas go with their heads."""
    kept = {manifest.source: {entry.id for entry in manifest.runtimes} for manifest in manifests}
    for runtime in tx.runtimes.all():
        named = runtime.source and runtime.replica_of is None
        if named and runtime.source in kept and runtime.id not in kept[runtime.source]:
            yield runtime


def _taken(tx: Transaction, manifest: Manifest, leaving: Collection[RuntimeId]) -> Iterator[Fault]:
    for entry in manifest.runtimes:
        for name in filter(numbered, names(entry)):
            row = tx.runtimes.get(name)
            if row is None or row.id in leaving:
                continue
            if name == entry.id and row.replica_of is not None:
                yield Fault(f"is a replica of {row.replica_of}", f"runtime {name}", entry.line)
            elif entry.id not in (name, row.replica_of):
                yield Fault(
                    f"its replica {name} would have the id of another runtime", f"runtime {entry.id}", entry.line
                )
