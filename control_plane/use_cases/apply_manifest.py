from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass

from control_plane.domain.declaration import Outcome, declared
from control_plane.domain.ids import RuntimeId
from control_plane.domain.manifest import Manifest, ManifestForm, ManifestRuntime
from control_plane.domain.runtime import Runtime
from control_plane.domain.view import RuntimeView
from control_plane.use_cases.declare_runtimes import check_models, forget, save_declared, undeclared
from control_plane.use_cases.once import Request, remember, repeated, request
from control_plane.use_cases.ports import Clock, Fleet, ManifestReader, Randomness, Store, Transaction
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
    removed: tuple[RuntimeId, ...] = ()


@dataclass(frozen=True, slots=True)
class _Result:
    rows: tuple[tuple[Runtime, Outcome], ...]
    revision: int
    removed: tuple[RuntimeId, ...] = ()


@dataclass(frozen=True, slots=True)
class ApplyManifest:
    """Declare every runtime of a manifest as one change, or none. ManifestInvalid names all that is wrong."""

    store: Store
    fleet: Fleet
    clock: Clock
    randomness: Randomness
    reader: ManifestReader

    async def __call__(
        self,
        content: bytes,
        form: ManifestForm,
        source: str,
        *,
        validate_only: bool = False,
        prune: bool = False,
        request_id: str = "",
    ) -> Applied:
        """`prune`: what an earlier manifest of this source declared and this one does not is removed."""
        manifest = await asyncio.to_thread(self.reader.read, content, form, source)
        if validate_only:
            return self._seen(await self.store.read(lambda tx: self._previewed(tx, manifest, prune=prune)))
        asked = request("ApplyManifest", request_id, content, form, source, *(("prune",) if prune else ()))
        return self._seen(await self.store.write(lambda tx: self._applied(tx, manifest, asked, prune=prune)))

    def _seen(self, result: _Result) -> Applied:
        runtimes = (AppliedRuntime(runtime_view(row, self.fleet), outcome) for row, outcome in result.rows)
        return Applied(tuple(runtimes), result.revision, result.removed)

    def _previewed(self, tx: Transaction, manifest: Manifest, *, prune: bool) -> _Result:
        check_models(tx, manifest)
        rows = tuple(self._declared(tx, entry, manifest) for entry in manifest.runtimes)
        return _Result(rows, tx.revision(), tuple(row.id for row in _leaving(tx, manifest, prune=prune)))

    def _applied(self, tx: Transaction, manifest: Manifest, asked: Request, *, prune: bool) -> _Result:
        answer = repeated(tx, asked)
        if answer is not None:
            return _remembered(tx, answer)
        check_models(tx, manifest)
        now = self.clock.now()
        removed = tuple(forget(tx, row, now) for row in _leaving(tx, manifest, prune=prune))
        rows = tuple(self._saved(tx, *self._declared(tx, entry, manifest)) for entry in manifest.runtimes)
        result = _Result(rows, tx.revision(), removed)
        remember(tx, asked, _answer(result))
        return result

    def _declared(self, tx: Transaction, entry: ManifestRuntime, manifest: Manifest) -> tuple[Runtime, Outcome]:
        existing = tx.runtimes.get(entry.id)
        uid = self.randomness.uid()
        return declared(existing, entry, source=manifest.source, uid=uid, now=self.clock.now())

    def _saved(self, tx: Transaction, runtime: Runtime, outcome: Outcome) -> tuple[Runtime, Outcome]:
        return save_declared(tx, runtime, outcome, self.clock.now()), outcome


def _leaving(tx: Transaction, manifest: Manifest, *, prune: bool) -> list[Runtime]:
    return list(undeclared(tx, [manifest])) if prune else []


def _answer(result: _Result) -> bytes:
    rows = [[row.id, outcome.value] for row, outcome in result.rows]
    return json.dumps({"revision": result.revision, "runtimes": rows, "removed": result.removed}).encode()


def _remembered(tx: Transaction, answer: bytes) -> _Result:
    """What was done then, with the runtimes as they are now; one deleted since is left out."""
    said = json.loads(answer)
    removed = tuple(RuntimeId(runtime) for runtime in said.get("removed", ()))
    return _Result(tuple(_still_there(tx, said["runtimes"])), said["revision"], removed)


def _still_there(tx: Transaction, rows: Iterable[tuple[str, str]]) -> Iterable[tuple[Runtime, Outcome]]:
    for runtime, outcome in rows:
        row = tx.runtimes.get(RuntimeId(runtime))
        if row is not None:
            yield row, Outcome(outcome)
