"""What a control plane stands on: its settings, its disk, its keys and its store."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from control_plane.settings import Paths, Settings
from control_plane.store.opening import OpenStore, open_store
from control_plane.timers import Timers
from control_plane.trust.authority import EmbeddedAuthority, Lifetimes
from control_plane.trust.following import TrustKeeper
from control_plane.trust.server_certificate import ServerCertificate
from control_plane.trust.shared_authority import SharedAuthority
from control_plane.use_cases.ports import Clock


@dataclass(frozen=True, slots=True)
class Ground:
    """What is there before anything is wired."""

    settings: Settings
    timers: Timers
    paths: Paths
    clock: Clock
    store: OpenStore
    authority: EmbeddedAuthority
    certificate: ServerCertificate
    trust: TrustKeeper


@asynccontextmanager
async def ground(settings: Settings, timers: Timers, paths: Paths, clock: Clock) -> AsyncIterator[Ground]:
    """Open or make everything on disk. InvalidArgument, StorageUnavailable."""
    store = await open_store(settings.database_url(os.environ), paths.database, clock)
    try:
        shared = shared_authority(settings, timers, paths, clock)
        authority = await shared.open(store)
        certificate = ServerCertificate(paths.directory, authority, clock, (settings.dialled,))
        trust = TrustKeeper(store, shared, authority, certificate)
        await trust.refresh()
        yield Ground(settings, timers, paths, clock, store, authority, certificate, trust)
    finally:
        await store.close()


def shared_authority(settings: Settings, timers: Timers, paths: Paths, clock: Clock) -> SharedAuthority:
    """Of the database that the settings name."""
    alone = not settings.database_url(os.environ)
    secret_file = "" if alone else settings.secret_file(os.environ)
    return SharedAuthority(paths.directory, clock, _lifetimes(timers), secret_file, alone=alone)


def _lifetimes(timers: Timers) -> Lifetimes:
    return Lifetimes(timers.node_certificate, timers.operator_certificate, timers.server_certificate)
