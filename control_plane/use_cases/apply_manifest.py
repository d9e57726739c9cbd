from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from control_plane.domain.declaration import Outcome, declared
from control_plane.domain.ids import RuntimeId
from control_plane.domain.manifest import Manifest, ManifestForm, ManifestRuntime
from control_plane.domain.runtime import Runtime
from control_plane.domain.steps import Steps
from control_plane.domain.view import RuntimeView
from control_plane.use_cases.declare_runtimes import check_models, check_sets, heeds, save_declared, undeclared
from control_plane.use_cases.once import Request, remember, repeated, request
from control_plane.use_cases.ports import Clock, Fleet, ManifestReader, Randomness, Store, Transaction
from control_plane.use_cases.runtime_sets import follows, forget, members
from control_plane.use_cases.slices import in_slices
from control_plane.use_cases.views import runtime_view


@dataclass(frozen=True, slots=True)
class AppliedRuntime:
    view: RuntimeView
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Applied:
    runtimes: tuple[AppliedRuntime, ...]
    """In the manifest's order, each before its replicas."""
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
            preview = await self.store.read(lambda tx: self._previewed(tx, manifest, prune=prune))
            return await in_slices(self._seen(preview))
        asked = request("ApplyManifest", request_id, content, form, source, *(("prune",) if prune else ()))
        result = await self.store.write(lambda tx: self._applied(tx, manifest, asked, prune=prune))
        return await in_slices(self._seen(result))

    def _seen(self, result: _Result) -> Steps[Applied]:
        runtimes: list[AppliedRuntime] = []
        for row, outcome in result.rows:
            runtimes.append(AppliedRuntime(runtime_view(row, self.fleet), outcome))
            yield
        return Applied(tuple(runtimes), result.revision, result.removed)

    def _previewed(self, tx: Transaction, manifest: Manifest, *, prune: bool) -> _Result:
        check_models(tx, manifest)
        leaving = [row.id for head in _leaving(tx, manifest, prune=prune) for row in members(tx, head)]
        check_sets(tx, manifest, leaving)
        return _result(
            [pair for entry in manifest.runtimes for pair in self._would_be(tx, entry, manifest)], tx, leaving
        )

    def _applied(self, tx: Transaction, manifest: Manifest, asked: Request, *, prune: bool) -> _Result:
        answer = repeated(tx, asked)
        if answer is not None:
            return _remembered(tx, answer)
        check_models(tx, manifest)
        now = self.clock.now()
        removed = [gone for row in _leaving(tx, manifest, prune=prune) for gone in forget(tx, row, now)]
        check_sets(tx, manifest)
        found = [self._declared(tx, entry, manifest) for entry in manifest.runtimes]
        saved = [pair for row, outcome in found for pair in save_declared(tx, row, outcome, now)]
        result = _result(saved, tx, removed)
        remember(tx, asked, _answer(result))
        return result

    def _declared(self, tx: Transaction, entry: ManifestRuntime, manifest: Manifest) -> tuple[Runtime, Outcome]:
        existing = tx.runtimes.get(entry.id)
        uid = self.randomness.uid()
        return declared(existing, entry, source=manifest.source, uid=uid, now=self.clock.now())

    def _would_be(
        self, tx: Transaction, entry: ManifestRuntime, manifest: Manifest
    ) -> Iterable[tuple[Runtime, Outcome]]:
        before, (head, outcome) = tx.runtimes.get(entry.id), self._declared(tx, entry, manifest)
        yield head, outcome
        for each in follows(tx, before, head, self.clock.now(), heed=heeds(before, head)):
            yield each.after, each.outcome


def _result(found: Sequence[tuple[Runtime, Outcome]], tx: Transaction, removed: Sequence[RuntimeId]) -> _Result:
    """A set that shrinks loses replicas as if they had been removed one by one."""
    lost = [row.id for row, outcome in found if outcome is Outcome.REMOVED]
    there = tuple((row, outcome) for row, outcome in found if outcome is not Outcome.REMOVED)
    return _Result(there, tx.revision(), (*removed, *lost))


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
