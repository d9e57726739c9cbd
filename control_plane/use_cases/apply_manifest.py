from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from control_plane.domain.declaration import Outcome, declared
from control_plane.domain.ids import RuntimeId
from control_plane.domain.manifest import Fault, Manifest, ManifestForm, ManifestRuntime, manifest_invalid
from control_plane.domain.runtime import NO_MODEL, DesiredState, Runtime
from control_plane.domain.view import RuntimeView
from control_plane.use_cases import announcements
from control_plane.use_cases.once import Request, remember, repeated, request
from control_plane.use_cases.ports import Clock, Fleet, ManifestReader, Randomness, Store, Transaction
from control_plane.use_cases.rows import save_runtime
from control_plane.use_cases.views import runtime_view


@dataclass(frozen=True, slots=True)
class AppliedRuntime:
    view: RuntimeView
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Applied:
    runtimes: tuple[AppliedRuntime, ...]
    """In the manifest's order."""
    revision: int
    """Of the whole change; the current one when nothing changed."""


@dataclass(frozen=True, slots=True)
class _Result:
    rows: tuple[tuple[Runtime, Outcome], ...]
    revision: int


@dataclass(frozen=True, slots=True)
class ApplyManifest:
    """Declare every runtime of a manifest as one change, or none. ManifestInvalid names all that is wrong."""

    store: Store
    fleet: Fleet
    clock: Clock
    randomness: Randomness
    reader: ManifestReader

    async def __call__(
        self, content: bytes, form: ManifestForm, source: str, *, validate_only: bool = False, request_id: str = ""
    ) -> Applied:
        manifest = self.reader.read(content, form, source)
        if validate_only:
            return self._seen(await self.store.read(lambda tx: self._previewed(tx, manifest)))
        asked = request("ApplyManifest", request_id, content, form, source)
        return self._seen(await self.store.write(lambda tx: self._applied(tx, manifest, asked)))

    def _seen(self, result: _Result) -> Applied:
        runtimes = (AppliedRuntime(runtime_view(row, self.fleet), outcome) for row, outcome in result.rows)
        return Applied(tuple(runtimes), result.revision)

    def _previewed(self, tx: Transaction, manifest: Manifest) -> _Result:
        _check_models(tx, manifest)
        return _Result(tuple(self._declared(tx, entry, manifest) for entry in manifest.runtimes), tx.revision())

    def _applied(self, tx: Transaction, manifest: Manifest, asked: Request) -> _Result:
        answer = repeated(tx, asked)
        if answer is not None:
            return _remembered(tx, answer)
        _check_models(tx, manifest)
        rows = tuple(self._saved(tx, *self._declared(tx, entry, manifest)) for entry in manifest.runtimes)
        result = _Result(rows, tx.revision())
        remember(tx, asked, _answer(result))
        return result

    def _declared(self, tx: Transaction, entry: ManifestRuntime, manifest: Manifest) -> tuple[Runtime, Outcome]:
        existing = tx.runtimes.get(entry.id)
        uid = self.randomness.uid()
        return declared(existing, entry, source=manifest.source, uid=uid, now=self.clock.now())

    def _saved(self, tx: Transaction, runtime: Runtime, outcome: Outcome) -> tuple[Runtime, Outcome]:
        if outcome is Outcome.UNCHANGED:
            return runtime, outcome
        now = self.clock.now()
        saved = save_runtime(tx, runtime, now)
        tx.journal.append(announcements.declared(saved, now, outcome.value))
        if saved.desired_state is DesiredState.RUNNING:
            tx.journal.append(announcements.restore_requested(saved, now, "manifest"))
        return saved, outcome


def _check_models(tx: Transaction, manifest: Manifest) -> None:
    needing = [entry for entry in manifest.runtimes if entry.spec.model != NO_MODEL]
    unknown = [entry for entry in needing if tx.models.get(entry.spec.model) is None]
    if unknown:
        faults = [Fault(f"model {e.spec.model} is not registered", f"runtime {e.id}", e.line) for e in unknown]
        raise manifest_invalid(manifest.source, faults, "Register it first: `arwctl model add FILE`.")


def _answer(result: _Result) -> bytes:
    rows = [[row.id, outcome.value] for row, outcome in result.rows]
    return json.dumps({"revision": result.revision, "runtimes": rows}).encode()


def _remembered(tx: Transaction, answer: bytes) -> _Result:
    """What was done then, with the runtimes as they are now; one deleted since is left out."""
    said = json.loads(answer)
    return _Result(tuple(_still_there(tx, said["runtimes"])), said["revision"])


def _still_there(tx: Transaction, rows: Iterable[tuple[str, str]]) -> Iterable[tuple[Runtime, Outcome]]:
    for runtime, outcome in rows:
        row = tx.runtimes.get(RuntimeId(runtime))
        if row is not None:
            yield row, Outcome(outcome)
