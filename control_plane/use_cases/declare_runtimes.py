"""What applying a manifest and reloading a file have in common."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime

from control_plane.domain.declaration import Outcome
from control_plane.domain.ids import ModelId, RuntimeId, instance_name
from control_plane.domain.manifest import Fault, Manifest, manifest_invalid
from control_plane.domain.runtime import NO_MODEL, DesiredState, Runtime
from control_plane.use_cases import announcements
from control_plane.use_cases.ports import Transaction
from control_plane.use_cases.rows import save_runtime


def check_models(tx: Transaction, manifest: Manifest, brought: Collection[ModelId] = ()) -> None:
    """ManifestInvalid when a runtime needs a model that is neither registered nor brought along."""
    needing = [entry for entry in manifest.runtimes if entry.spec.model not in (NO_MODEL, *brought)]
    unknown = [entry for entry in needing if tx.models.get(entry.spec.model) is None]
    if unknown:
        faults = [Fault(f"model {e.spec.model} is not registered", f"runtime {e.id}", e.line) for e in unknown]
        raise manifest_invalid(manifest.source, faults, "Register it first: `arwctl model add FILE`.")


def save_declared(
    tx: Transaction, runtime: Runtime, outcome: Outcome, now: datetime, cause: str = "manifest"
) -> Runtime:
    """Write what is new, and say so. `cause` of its start; empty: it is not started by this."""
    if outcome is Outcome.UNCHANGED:
        return runtime
    saved = save_runtime(tx, runtime, now)
    tx.journal.append(announcements.declared(saved, now, outcome.value))
    if cause and saved.desired_state is DesiredState.RUNNING:
        tx.journal.append(announcements.restore_requested(saved, now, cause))
    return saved


def undeclared(tx: Transaction, manifests: Iterable[Manifest]) -> Iterator[Runtime]:
    """What the sources of these manifests declared before, and do not any more."""
    kept = {manifest.source: {entry.id for entry in manifest.runtimes} for manifest in manifests}
    for runtime in tx.runtimes.all():
        if runtime.source and runtime.source in kept and runtime.id not in kept[runtime.source]:
            yield runtime


def forget(tx: Transaction, runtime: Runtime, now: datetime) -> RuntimeId:
    """Its node stops it."""
    if runtime.node is not None:
        tx.desired.bury(runtime.node, instance_name(runtime.node, runtime.id))
    tx.runtimes.delete(runtime.id)
    tx.journal.append(announcements.of_runtime("runtime.deleted", runtime.id, now, node=runtime.node or ""))
    return runtime.id
