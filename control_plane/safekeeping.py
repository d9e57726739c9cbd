"""Backup and restore of everything that a control plane keeps."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from control_plane.domain.authority import Authority, trusted
from control_plane.domain.errors import InvalidArgument, NotFound, StorageUnavailable
from control_plane.process.clock import SystemClock
from control_plane.process.run_file import locked
from control_plane.settings import DATABASE_VARIABLE, Paths, Settings, product_version
from control_plane.store import backup as databases
from control_plane.store import schema
from control_plane.store.backup import Progress
from control_plane.store.backup_archive import Archive, Contents, check_free, opened, pack
from control_plane.store.opening import look_at
from control_plane.trust.authority import Lifetimes, trust_domain_of
from control_plane.trust.key_files import OTHER, KeyFiles
from control_plane.trust.shared_authority import SharedAuthority
from wire.atomic_file import sync_directory, write_atomically

DATABASE = "arw.db"
BESIDE = ("ca.key", "ca.pem", "settings.json", "operator")
"""What else a backup holds. The server's key and certificate are made anew from it."""
REPLACED = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", *BESIDE, "server.key", "server.pem")
SAY_EVERY_S = 2.0


def backup(state: Path, file: Path, *, force: bool) -> int:
    """Write the backup; the control plane may serve meanwhile. NotFound, AlreadyExists, StorageUnavailable."""
    paths = _existing(state)
    settings = Settings.load(paths.settings)
    url = settings.database_url(os.environ)
    check_free(file, force=force)
    with _scratch(file.parent, ".arw-backup-") as folder:
        files, contents = _collected(paths, settings, url, folder)
        pack(file, contents, files, force=force)
    write_atomically(paths.backed_up, json.dumps({"time": contents.time.isoformat(), "file": str(file)}).encode())
    what = "everything but the database" if url else f"revision {contents.revision} of history {contents.history_id}"
    _say(f"{file}: {what}. It holds the CA's key: keep it as safe as the control plane itself.")
    for other in contents.elsewhere:
        _say(f"Not in it, so keep a copy: {other}")
    if url:
        _say("PostgreSQL keeps the database. Back it up too, with the address of this control plane:")
        _say(f"  pg_dump --format=custom --file={file}.pgdump --dbname=postgresql://USER@HOST:PORT/NAME")
    return 0


def restore(state: Path, file: Path) -> int:
    """Put a backup in the place of what is there, which is put aside. InUse, InvalidArgument, StorageUnavailable."""
    paths = Paths(state)
    with opened(file) as archive:
        _check(archive)
        paths.make()
        with locked(paths.lock, paths.run):
            _check_authority(archive, paths)
            with _scratch(paths.directory, ".restoring-") as folder:
                history = _staged(archive, folder)
                aside = _swapped(paths, folder, archive.manifest.parts)
    _say(f"Restored {file}, made {archive.manifest.contents.time:%Y-%m-%d %H:%M:%S} UTC, as history {history}.")
    if aside:
        _say(f"What was there before lies in {aside}; remove it when all is well.")
    _say("Start the control plane: arwctl up, or arw-control-plane run.")
    _advise(history)
    return 0


def new_history(state: Path) -> int:
    """For a database that was put back by other means. InUse, StorageUnavailable."""
    paths = _existing(state)
    with locked(paths.lock, paths.run):
        history = _renewed(Settings.load(paths.settings).database_url(os.environ), paths.database)
    _say(f"The database begins the history {history}.")
    _advise(history)
    return 0


def _advise(history: str) -> None:
    _say("Nodes keep what they run and say HISTORY_CHANGED. When what is declared is right, agree on each of them:")
    _say(f"  arw-node-agent accept-history {history}")


def _existing(state: Path) -> Paths:
    paths = Paths(state)
    if not (paths.directory / "ca.pem").exists():
        raise NotFound(f"There is no control plane in {state}.", "Name its state directory with --state-dir.")
    return paths


def _collected(paths: Paths, settings: Settings, url: str, folder: Path) -> tuple[dict[str, Path], Contents]:
    """Files by their name in the backup, and what is said of them."""
    files = {name: paths.directory / name for name in BESIDE if (paths.directory / name).exists()}
    files |= {path.name: path for path in KeyFiles(paths.directory).paths()}
    if "ca.key" not in files:
        files |= _unsealed(paths, settings, url, folder)
    named = (
        *(settings.database_file, settings.secret_file(os.environ) if url else ""),
        *(settings.http_certificate, settings.http_key, settings.manifest_dir),
    )
    domain = trust_domain_of(x509.load_pem_x509_certificates((paths.directory / "ca.pem").read_bytes())[0])
    kind = "postgresql" if url else "sqlite"
    about = Contents(product_version(), datetime.now(UTC), domain, kind, elsewhere=tuple(filter(None, named)))
    if url:
        return files, about
    with _progress("copying the database") as progress:
        facts = databases.copy_database(paths.database, folder / DATABASE, progress)
    about = replace(about, schema=facts.schema, history_id=facts.history_id, revision=facts.revision)
    return {DATABASE: folder / DATABASE, **files}, about


def _unsealed(paths: Paths, settings: Settings, url: str, folder: Path) -> dict[str, Path]:
    """The authorities' keys where they are not on the disk, in this folder. InvalidArgument, StorageUnavailable."""
    rows = look_at(url).authorities if url else ()
    if not rows:
        raise StorageUnavailable(
            f"{paths.directory / 'ca.key'} is missing.", "Restore the newest backup: arw-control-plane restore FILE"
        )
    shared = SharedAuthority(paths.directory, SystemClock(), Lifetimes(), settings.secret_file(os.environ))
    write_atomically(folder / "ca.key", shared.held(rows).key_pem())
    others = [row for row in trusted(rows) if row != shared.active(rows)]
    kept = [KeyFiles(folder).keep(shared.key_of(row, rows)) for row in others]
    return {path.name: path for path in (folder / "ca.key", *kept)}


def _check(archive: Archive) -> None:
    """Before anything is touched."""
    contents, parts = archive.manifest.contents, archive.manifest.parts.keys()
    if contents.schema > schema.NEWEST:
        raise StorageUnavailable(
            f"{archive.path} was written by ARW {contents.product_version}: its schema {contents.schema} is newer "
            f"than {schema.NEWEST}, the newest that this version knows.",
            "Restore it with that version of ARW.",
            schema=contents.schema,
        )
    needed = {"ca.key", "ca.pem", *([DATABASE] if contents.database == "sqlite" else [])}
    keys = {name for name in parts if OTHER.fullmatch(name)}
    if not needed <= parts <= {*BESIDE, *keys, DATABASE}:
        raise InvalidArgument(
            f"{archive.path} holds {', '.join(sorted(parts))}, which is no whole control plane.", "Name another backup."
        )


def _check_authority(archive: Archive, paths: Paths) -> None:
    """Its certificates would be worth nothing under another CA, nor those here under its own."""
    ours = paths.directory / "ca.pem"
    if not ours.exists():
        return
    domain = trust_domain_of(x509.load_pem_x509_certificates(ours.read_bytes())[0])
    if domain != archive.manifest.contents.trust_domain:
        raise InvalidArgument(
            f"{archive.path} is of another control plane: its CA is {archive.manifest.contents.trust_domain}, "
            f"the one in {paths.directory} is {domain}.",
            "Name an empty state directory with --state-dir, or move the present one away first.",
        )


def _staged(archive: Archive, folder: Path) -> str:
    """Every part, checked, beside what is there; the id of the new history."""
    for name in archive.manifest.parts:
        with _progress(f"reading {name}") as progress:
            archive.unpack(name, folder / name, progress)
    url = _url(archive, folder)
    if url:
        _check_shared(archive, look_at(url).authorities)
    else:
        databases.check(folder / DATABASE)
    return _renewed(url, folder / DATABASE)


def _check_shared(archive: Archive, rows: Sequence[Authority]) -> None:
    """Before the database begins a new history."""
    domain = trust_domain_of(x509.load_der_x509_certificate(rows[0].certificate)) if rows else ""
    if domain not in ("", archive.manifest.contents.trust_domain):
        raise InvalidArgument(
            f"{archive.path} is of another control plane: its CA is {archive.manifest.contents.trust_domain}, "
            f"that of the database is {domain}.",
            f"Put the dump of its own database back, and name that by {DATABASE_VARIABLE}.",
        )


def _url(archive: Archive, folder: Path) -> str:
    """Of the database that will be used; InvalidArgument when it is of another kind than the backup's."""
    url = Settings.load(folder / "settings.json").database_url(os.environ)
    kind, kept = "postgresql" if url else "sqlite", archive.manifest.contents.database
    if kind != kept:
        raise InvalidArgument(
            f"{archive.path} is of a control plane on {kept}, and settings and environment name {kind}.",
            f"Set {DATABASE_VARIABLE} to the address of the database that was put back."
            if kept == "postgresql"
            else f"Unset {DATABASE_VARIABLE}.",
        )
    return url


def _renewed(url: str, file: Path) -> str:
    if not url:
        return databases.renew(file)
    from control_plane.store.postgres_opening import renew  # noqa: PLC0415 - few have its driver

    return renew(url)


def _swapped(paths: Paths, folder: Path, names: Iterable[str]) -> Path | None:
    """Where what was there went. Cut off in the middle, the control plane refuses to start until it is done again."""
    write_atomically(paths.restoring, b"a backup is being put back\n")
    keys = [path.name for path in KeyFiles(paths.directory).paths() if path.name not in REPLACED]
    there = [paths.directory / name for name in (*REPLACED, *keys) if (paths.directory / name).exists()]
    aside = Path(tempfile.mkdtemp(dir=paths.directory, prefix=f"before-restore-{datetime.now(UTC):%Y%m%dT%H%M%S}-"))
    for old in there:
        old.rename(aside / old.name)
    for name in names:
        (folder / name).rename(paths.directory / name)
    (paths.directory / "ca.pem").chmod(0o644)
    sync_directory(aside)
    sync_directory(paths.directory)
    paths.restoring.unlink()
    if not there:
        aside.rmdir()
    return aside if there else None


@contextmanager
def _scratch(parent: Path, prefix: str) -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(dir=parent, prefix=prefix)
    except OSError as error:
        raise StorageUnavailable(
            f"Nothing can be written in {parent}: {error.strerror}.", "Give its user write access, and room."
        ) from error
    with folder as name:
        yield Path(name)


@contextmanager
def _progress(what: str) -> Iterator[Progress]:
    """A line every other second: short work says nothing."""
    said = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said >= SAY_EVERY_S:
            said = time.monotonic()
            print(f"{what}: {100 * done // max(total, 1)} %", file=sys.stderr, flush=True)  # noqa: T201 - for a person

    yield progress


def _say(text: str) -> None:
    print(text)  # noqa: T201 - the answer itself
