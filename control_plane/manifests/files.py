"""The manifest files of this machine, as they lie there."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from control_plane.domain.manifest import ManifestForm
from control_plane.domain.watcher import WatchArea
from control_plane.manifests.parse import MAX_BYTES

MAX_FILES = 1000
FORMS = {".toml": ManifestForm.TOML, ".json": ManifestForm.JSON}


@dataclass(frozen=True, slots=True)
class ManifestPaths:
    """What is loaded at the start and whenever it changes."""

    files: tuple[Path, ...] = ()
    directories: tuple[Path, ...] = ()
    """Of which every *.toml and *.json counts, but for hidden ones."""

    @property
    def areas(self) -> dict[WatchArea, tuple[str, ...]]:
        """What was named, by what it is."""
        named = {WatchArea.MANIFEST_FILES: self.files, WatchArea.MANIFEST_DIRECTORY: self.directories}
        return {area: tuple(map(str, paths)) for area, paths in named.items() if paths}

    def __bool__(self) -> bool:
        return bool(self.files or self.directories)


@dataclass(frozen=True, slots=True)
class Mark:
    """Changes whenever a file is written or another takes its place."""

    device: int
    inode: int
    size: int
    modified_ns: int


def inside(directory: Path) -> list[Path]:
    """OSError, also for more files than anybody means."""
    found = sorted(path for path in directory.iterdir() if path.suffix in FORMS and not path.name.startswith("."))
    if len(found) > MAX_FILES:
        raise OSError(f"it holds {len(found)} manifests, at most {MAX_FILES} are allowed")
    return found


def form_of(path: Path) -> ManifestForm:
    """TOML where the name does not say."""
    return FORMS.get(path.suffix, ManifestForm.TOML)


def mark_of(path: Path) -> Mark:
    """OSError."""
    return _mark(path.stat())


def content_of(path: Path, mark: Mark) -> bytes | None:
    """At most a byte more than a manifest may have; None when it is written just now.

    OSError, also for what is no file of somebody trusted.
    """
    with open(path, "rb", opener=_at_once) as file:
        seen = os.fstat(file.fileno())
        if not stat.S_ISREG(seen.st_mode):
            raise OSError("it is no plain file")
        if seen.st_uid not in (0, os.geteuid()) or seen.st_mode & stat.S_IWOTH:
            raise OSError("others than root and the control plane's user can write it; chmod o-w it, and own it")
        content = file.read(MAX_BYTES + 1)
        return content if _mark(seen) == _mark(os.fstat(file.fileno())) == mark else None


def _at_once(path: str, flags: int) -> int:
    """A fifo without a writer holds nobody up."""
    return os.open(path, flags | os.O_NONBLOCK)


def _mark(seen: os.stat_result) -> Mark:
    return Mark(seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns)
