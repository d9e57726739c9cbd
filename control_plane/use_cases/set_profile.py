from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from control_plane.domain.declaration import redeclared
from control_plane.domain.errors import InvalidArgument, ManifestInvalid
from control_plane.domain.ids import RuntimeId
from control_plane.domain.intent_layers import said_by_manifest
from control_plane.domain.profile import Profile, as_said, under
from control_plane.domain.runtime import Runtime, RuntimeSpec
from control_plane.domain.view import RuntimeView
from control_plane.use_cases import announcements
from control_plane.use_cases.once import Request, remember, repeated, request
from control_plane.use_cases.ports import Clock, Fleet, ProfileReader, Store, Transaction
from control_plane.use_cases.rows import match_etag, runtime_of, save_runtime
from control_plane.use_cases.runtime_sets import check_declared, follow
from control_plane.use_cases.views import runtime_view


@dataclass(frozen=True, slots=True)
class ListProfiles:
    """Those that there are now; of a file that is refused why."""

    profiles: ProfileReader

    async def __call__(self) -> Mapping[str, Profile | ManifestInvalid]:
        return await asyncio.to_thread(self.profiles.read)


@dataclass(frozen=True, slots=True)
class SetProfile:
    """Put a runtime under another profile, or under none; what its manifest says of single keys goes on to count.

    NotFound, EtagMismatch; ManifestInvalid for a profile whose file is refused; InvalidArgument for one that there is
    not, and for a replica.
    """

    store: Store
    fleet: Fleet
    clock: Clock
    profiles: ProfileReader

    async def __call__(self, runtime: RuntimeId, name: str, *, etag: str = "", request_id: str = "") -> RuntimeView:
        """`name`: empty for none."""
        profile = await asyncio.to_thread(self._profile, name) if name else None
        asked = request("SetRuntimeProfile", request_id, runtime, name, etag)
        saved = await self.store.write(lambda tx: self._saved(tx, runtime, profile, etag, asked))
        return runtime_view(saved, self.fleet)

    def _profile(self, name: str) -> Profile:
        known = self.profiles.read()
        found = known.get(name)
        if found is None:
            text = f"There is no profile {name[:64]!r}."
            raise InvalidArgument(text, f"Choose one of {', '.join(sorted(known))}.", profile=name[:64])
        if isinstance(found, ManifestInvalid):
            raise found
        return found

    def _saved(
        self, tx: Transaction, runtime: RuntimeId, profile: Profile | None, etag: str, asked: Request
    ) -> Runtime:
        row = runtime_of(tx, runtime)
        if repeated(tx, asked) is not None:
            return row
        check_declared(row, "given a profile")
        match_etag(row.etag, etag)
        remember(tx, asked)
        spec = _changed(row.spec, profile)
        if spec == row.spec:
            return row
        now = self.clock.now()
        saved = save_runtime(tx, redeclared(row, spec), now)
        tx.journal.append(announcements.declared(saved, now, "updated"))
        tx.journal.append(announcements.profile_changed(saved, row, now))
        follow(tx, row, saved, now)
        return saved


def _changed(spec: RuntimeSpec, profile: Profile | None) -> RuntimeSpec:
    plain = replace(as_said(spec), profile=profile.name if profile is not None else "")
    if profile is None:
        return plain
    manifest = replace(said_by_manifest(spec), settings=plain.settings)
    return under(profile, plain, manifest)
