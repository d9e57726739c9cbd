"""The one file of a backup: a tar whose first part, the manifest, has length and digest of every other."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

import msgspec

from control_plane.domain.errors import AlreadyExists, InvalidArgument, StorageUnavailable
from control_plane.store.backup import Progress
from wire.atomic_file import written_atomically

FORMAT = "arw-backup"
VERSION = 1
MAX_MANIFEST_BYTES = 1024 * 1024
_MANIFEST = "manifest.json"
_SEAL = "manifest.sha256"
_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Part:
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What stands around the parts."""

    product_version: str
    time: datetime
    trust_domain: str
    database: str
    """ "sqlite", or "postgresql": then it is in no part."""
    schema: str = ""
    history_id: str = ""
    revision: int = 0
    elsewhere: tuple[str, ...] = ()
    """Files that the settings name and that are in no part."""


@dataclass(frozen=True, slots=True)
class Manifest:
    format: str
    version: int
    contents: Contents
    parts: dict[str, Part]


@dataclass(frozen=True, slots=True)
class Archive:
    """An open backup whose manifest is as it was written; its parts are checked as they are taken."""

    path: Path
    manifest: Manifest
    _tar: tarfile.TarFile

    def unpack(self, name: str, target: Path, progress: Progress) -> None:
        """InvalidArgument when the part is not as it was written."""
        part = self.manifest.parts[name]
        digest, size = hashlib.sha256(), 0
        with _described(self.path), _member(self._tar, name) as source, _private(target) as file:
            while chunk := source.read(_CHUNK):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
                progress(size, part.size)
            file.flush()
            os.fsync(file.fileno())
        if (size, digest.hexdigest()) != (part.size, part.sha256):
            raise _corrupt(self.path, f"{name} is not as it was written")


def pack(path: Path, contents: Contents, files: Mapping[str, Path], *, force: bool) -> None:
    """Write the backup as `path`, mode 0600, whole or not at all. AlreadyExists, StorageUnavailable."""
    check_free(path, force=force)
    with _room(path), written_atomically(path) as file, tarfile.open(fileobj=file, mode="w") as tar:
        parts = {name: _part(source) for name, source in files.items()}
        text = msgspec.json.encode(Manifest(FORMAT, VERSION, contents, parts))
        _add(tar, _MANIFEST, text)
        _add(tar, _SEAL, hashlib.sha256(text).hexdigest().encode())
        for name, source in files.items():
            tar.add(source, name, recursive=False, filter=_plain)


def check_free(path: Path, *, force: bool) -> None:
    if path.is_dir() or (path.exists() and not force):
        raise AlreadyExists(f"{path} exists.", "Choose another name, or replace a file with --force.")


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """InvalidArgument when it is no backup or a damaged one, StorageUnavailable when a newer version wrote it."""
    with ExitStack() as stack:
        with _described(path):
            tar = stack.enter_context(tarfile.open(path, "r:"))
            manifest = _manifest(path, tar)
            missing = manifest.parts.keys() - set(tar.getnames())
        if missing:
            raise _corrupt(path, f"{', '.join(sorted(missing))} is missing")
        yield Archive(path, manifest, tar)


def _manifest(path: Path, tar: tarfile.TarFile) -> Manifest:
    with _member(tar, _MANIFEST) as file:
        text = file.read(MAX_MANIFEST_BYTES)
    with _member(tar, _SEAL) as file:
        if file.read(MAX_MANIFEST_BYTES) != hashlib.sha256(text).hexdigest().encode():
            raise _corrupt(path, "its manifest is not as it was written")
    known = msgspec.json.decode(text)
    if known.get("format") != FORMAT or known.get("version", 0) > VERSION:
        raise StorageUnavailable(
            f"{path} was written in a form that this version of ARW does not know.",
            "Restore it with the version that wrote it, or a newer one.",
        )
    return msgspec.convert(known, Manifest)


@contextmanager
def _member(tar: tarfile.TarFile, name: str) -> Iterator[IO[bytes]]:
    file = tar.extractfile(name)
    if file is None:
        raise KeyError(name)
    with file:
        yield file


@contextmanager
def _described(path: Path) -> Iterator[None]:
    try:
        yield
    except tarfile.ReadError as error:
        raise InvalidArgument(
            f"{path} is no backup, or a damaged one: {error}.", "Name a file that `arwctl admin backup` wrote."
        ) from error
    except (KeyError, msgspec.MsgspecError, tarfile.TarError, EOFError) as error:
        raise InvalidArgument(
            f"{path} is no backup of a control plane: {error}.", "Name a file that `arwctl admin backup` wrote."
        ) from error
    except OSError as error:
        raise InvalidArgument(
            f"{error.filename or path}: {error.strerror or error}.", "Name a file and folders that you may use."
        ) from error


@contextmanager
def _room(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(
            f"The backup {path} cannot be written: {error.strerror or error}.",
            "Name a folder that exists, that you may write to, and that has room.",
            cause=str(error),
        ) from error


def _part(file: Path) -> Part:
    with file.open("rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
    return Part(file.stat().st_size, digest)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o600
    tar.addfile(info, io.BytesIO(data))


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mode = 0o600
    return info


def _private(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _corrupt(path: Path, why: str) -> InvalidArgument:
    return InvalidArgument(
        f"{path} is damaged: {why}. Nothing was changed.", "Use another backup, or fetch this one again."
    )
