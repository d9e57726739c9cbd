"""Digests of model files that were read before: a file that did not change is not read again."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from wire.atomic_file import write_atomically

AT_MOST = 256
COARSEST_CLOCK_NS = 2_000_000_000
"""Times of files on FAT are 2 s apart; all others that are in use are finer."""
_log = structlog.get_logger()


class ModelMark(msgspec.Struct, frozen=True):
    """What tells one content of a file from the next. Nobody can set the change time."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, path: Path) -> ModelMark:
        """OSError, also for what is no file."""
        seen = path.stat()
        if not stat.S_ISREG(seen.st_mode):
            raise OSError(0, "it is no plain file", str(path))
        return cls(seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)

    def tells_changes(self, now_ns: int) -> bool:
        """Whether every change from now on makes another mark: two within one tick of the file's clock look alike."""
        return max(self.mtime_ns, self.ctime_ns) + COARSEST_CLOCK_NS < now_ns


class _Known(msgspec.Struct, frozen=True):
    mark: ModelMark
    sha256: str


@dataclass(slots=True)
class ModelDigests:
    """By path, the newest last, in one file. One that cannot be read or written costs time, and nothing else."""

    file: Path
    _known: dict[str, _Known] | None = None
    _fresh: bool = field(default=False)
    """Something was learnt that is not in the file."""

    def known(self, path: Path, mark: ModelMark) -> str | None:
        """SHA-256 in hex of the content with exactly this mark."""
        found = self._all().get(str(path))
        return found.sha256 if found is not None and found.mark == mark else None

    def learn(self, path: Path, mark: ModelMark, sha256: str) -> None:
        """Of a file that had this mark before and after it was read."""
        known = self._all()
        known.pop(str(path), None)
        known[str(path)] = _Known(mark, sha256)
        self._fresh = True
        while len(known) > AT_MOST:
            del known[next(iter(known))]

    def keep(self) -> None:
        if not self._fresh:
            return
        try:
            write_atomically(self.file, msgspec.json.encode(self._all()))
        except OSError as error:
            _log.warning("model_digests_not_kept", file=str(self.file), error=os.strerror(error.errno or 0))
        self._fresh = False

    def _all(self) -> dict[str, _Known]:
        if self._known is None:
            self._known = self._read()
        return self._known

    def _read(self) -> dict[str, _Known]:
        try:
            return msgspec.json.decode(self.file.read_bytes(), type=dict[str, _Known])
        except (OSError, msgspec.MsgspecError):
            return {}
