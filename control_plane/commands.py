"""What each command of the control plane does; `app` holds what `run` serves."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from control_plane.app import ControlPlane
from control_plane.domain.errors import InvalidArgument, StorageUnavailable
from control_plane.ground import Ground, ground, shared_authority
from control_plane.initialise import follow_authorities, initialise, name_replicas, provide_context
from control_plane.process.clock import SystemClock
from control_plane.process.descriptors import raise_limit
from control_plane.process.listening import check_port, free_ports
from control_plane.process.run_file import announced, locked
from control_plane.settings import PORTS, Paths, Settings
from control_plane.store.opening import open_store
from control_plane.timers import Timers
from control_plane.trust.secret_file import read_secret
from wire import event_loop
from wire.log_lines import log_to_stderr
from wire.machine_id import machine_id_hash

_log = structlog.get_logger()


def init(state: Path, told: Mapping[str, Any], context_file: Path | None) -> int:
    """Make everything that a control plane keeps. `told`: settings by name, kept from now on."""
    log_to_stderr(logging.WARNING)
    paths = _prepared(state, told)
    file = context_file or paths.state / "context.json"
    settings = Settings.load(paths.settings)
    asyncio.run(initialise(settings, Timers.chosen(os.environ), paths, SystemClock(), file))
    print(f"Initialised {paths.directory}; the operator's context is {file}")  # noqa: T201 - the answer itself
    return 0


def run(state: Path, told: Mapping[str, Any], context_file: Path | None) -> int:
    """Serve until SIGTERM or SIGINT, with the operator's context made first where one is named."""
    log_to_stderr(logging.INFO)
    raise_limit()
    paths = _prepared(state, told)
    with locked(paths.lock, paths.run):
        settings = Settings.load(paths.settings)
        for name, (flag, what) in PORTS.items():
            host = settings.http_host if name == "http_port" else settings.host
            check_port(host, getattr(settings, name), what, flag)
        event_loop.run(_serve(settings, paths, context_file))
    return 0


def seal(state: Path, file: str) -> int:
    """Seal the key of the authority by the secret in this file, which is kept in the settings from now on."""
    log_to_stderr(logging.WARNING)
    paths = Paths(state)
    settings = Settings.load(paths.settings)
    asyncio.run(_seal(settings, paths, read_secret(file)))
    replace(settings, authority_secret_file=file).save(paths.settings)
    print(f"Sealed by the secret in {file}. Bring it to the other replicas before they start again.")  # noqa: T201 - the answer itself
    return 0


async def _seal(settings: Settings, paths: Paths, secret: bytes) -> None:
    url, clock = settings.database_url(os.environ), SystemClock()
    if not url:
        raise InvalidArgument(
            f"The control plane in {paths.state} is the only one on its database: it needs no seal.",
            "Name its PostgreSQL first: arw-control-plane init --database postgresql://USER@HOST:PORT/NAME",
        )
    authority = shared_authority(settings, Timers(), paths, clock)
    store = await open_store(url, paths.database, clock)
    try:
        await authority.seal(store, secret)
    finally:
        await store.close()


async def _serve(settings: Settings, paths: Paths, context_file: Path | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with ground(settings, Timers.chosen(os.environ), paths, SystemClock()) as on:
        if context_file:
            await provide_context(on, context_file)
        plane = ControlPlane(on)

        if context_file:
            plane.on_replicas(partial(_name_replicas, plane, context_file))
            on.trust.on_change(partial(_follow_authorities, on, context_file))
        await plane.run(stop, partial(announced, paths.run, paths.lock))


def _name_replicas(plane: ControlPlane, context_file: Path) -> None:
    """A disk that is full costs the operator's convenience, and nothing else."""
    try:
        name_replicas(context_file, machine_id_hash(), [replica.place for replica in plane.replicas])
    except OSError as error:
        _log.warning("context_file_not_written", path=str(context_file), error=str(error))


async def _follow_authorities(on: Ground, context_file: Path) -> None:
    """As with the replicas."""
    try:
        await follow_authorities(on, context_file)
    except OSError as error:
        _log.warning("context_file_not_written", path=str(context_file), error=str(error))


def _prepared(state: Path, told: Mapping[str, Any]) -> Paths:
    """The state directory, with what was told kept in its settings."""
    paths = Paths(state)
    paths.make()
    if paths.restoring.exists():
        raise StorageUnavailable(
            f"A restore into {paths.directory} was cut off in the middle.", "Run it again: arwctl admin restore FILE"
        )
    kept = Settings.load(paths.settings)
    settings = _told(kept, told)
    if settings != kept or not paths.settings.exists():
        settings.save(paths.settings)
    return paths


def _told(settings: Settings, given: Mapping[str, Any]) -> Settings:
    """What was kept, changed by what was told; a port of 0 becomes a free one. One database takes another's place."""
    databases = {"database": "", "database_file": ""} if given.keys() & {"database", "database_file"} else {}
    told = {**asdict(settings), **databases, **given}
    open_ones = [name for name in PORTS if told[name] == 0]
    return Settings(**{**told, **dict(zip(open_ones, free_ports(told["host"], len(open_ones)), strict=True))})
