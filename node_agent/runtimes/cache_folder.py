"""Folders in which engines keep what their slots hold: for this user or the engine's alone, and never above a size."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from node_agent.runtimes.directory import OPEN_TO_OTHERS, ForeignFileError

OWN = ".slots"
"""In an instance's scratch directory; the dot lets it outlive a launch."""
SHARED = "prompt_cache"


@dataclass(frozen=True, slots=True)
class CacheFolder:
    path: Path
    whole: Path
    """What the limit counts for: the folder itself, or all that are shared."""

    @classmethod
    def of(cls, scratch: Path, state: Path, name: str) -> CacheFolder:
        """`name` is what runtimes share; empty: nothing."""
        if not name:
            return cls(scratch / OWN, scratch / OWN)
        return cls(state / SHARED / name, state / SHARED)

    @classmethod
    def at(cls, path: str, scratch: Path) -> CacheFolder:
        """As a launch record tells it."""
        own = Path(path) == scratch / OWN
        return cls(Path(path), Path(path) if own else Path(path).parent)

    def prepare(self, uid: int, groups: Sequence[int]) -> None:
        """Make it, for the engine's user when that is another. ForeignFileError when something else is there."""
        self.whole.parent.mkdir(mode=0o700, exist_ok=True)
        for folder in dict.fromkeys((self.whole, self.path)):
            folder.mkdir(mode=0o700, exist_ok=True)
            _check(folder, uid)
        if not uid:
            return
        if self.whole != self.path:
            os.chown(self.whole, -1, groups[0])
            self.whole.chmod(0o710)
        os.chown(self.path, uid, groups[0])

    def is_there(self, file: str) -> bool:
        return _is_file(self.path / file)

    def used(self, file: str) -> None:
        """Others go first from now on."""
        try:
            os.utime(self.path / file, follow_symlinks=False)
        except FileNotFoundError:
            return

    def remove(self, file: str) -> None:
        (self.path / file).unlink(missing_ok=True)

    def remove_all(self, prefix: str) -> None:
        for path, _ in _files(self.path):
            if path.name.startswith(prefix):
                path.unlink(missing_ok=True)

    def has_room(self, size: int) -> bool:
        return shutil.disk_usage(self.path).free > size

    def sweep(self, limit_bytes: int) -> int:
        """Remove what was used longest ago until the rest fits, and whatever is no plain file. Bytes that are left."""
        files = sorted(_files(self.whole), key=lambda entry: entry[1].st_mtime)
        size = sum(seen.st_size for _, seen in files)
        for path, seen in files:
            if size <= limit_bytes:
                break
            path.unlink(missing_ok=True)
            size -= seen.st_size
        return size


def _check(folder: Path, uid: int) -> None:
    seen = folder.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid not in (os.geteuid(), uid) or seen.st_mode & OPEN_TO_OTHERS:
        raise ForeignFileError(f"{folder} is not a directory of this user alone")


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _files(folder: Path, depth: int = 1) -> Iterator[tuple[Path, os.stat_result]]:
    """Engines write here, so nothing is followed."""
    if not folder.is_dir() or folder.is_symlink():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                yield Path(entry.path), entry.stat(follow_symlinks=False)
            elif not entry.is_dir(follow_symlinks=False):
                Path(entry.path).unlink(missing_ok=True)
            elif depth:
                yield from _files(Path(entry.path), depth - 1)
