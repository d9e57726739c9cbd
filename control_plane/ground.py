"""What a control plane stands on: its settings, its disk, its keys and its store."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from control_plane.settings import Paths, Settings, Timers
from control_plane.store.opening import OpenStore, open_store
from control_plane.trust.authority import EmbeddedAuthority, Lifetimes
from control_plane.trust.server_certificate import ServerCertificate
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


@asynccontextmanager
async def ground(settings: Settings, timers: Timers, paths: Paths, clock: Clock) -> AsyncIterator[Ground]:
    """Open or make everything on disk. StorageUnavailable."""
    lifetimes = Lifetimes(timers.node_certificate, timers.operator_certificate, timers.server_certificate)
    authority = EmbeddedAuthority.open(paths.directory, clock, lifetimes)
    certificate = ServerCertificate(paths.directory, authority, clock, (settings.dialled,))
    store = await open_store(settings.database_url(os.environ), paths.database, clock)
    try:
        yield Ground(settings, timers, paths, clock, store, authority, certificate)
    finally:
        await store.close()
