"""Digests of model files that were read before: a file that did not change is not read again."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

FOLDER = "model_digests"
AT_MOST = 256
COARSEST_CLOCK_NS = 2_000_000_000
"""Times of files on FAT are 2 s apart; all others that are in use are finer."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What tells one content of a file from the next. Nobody can set the change time."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, seen: os.stat_result) -> Self:
        return cls(seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)

    def tells_changes(self, now_ns: int) -> bool:
        """Whether every change from now on makes another mark: two within one tick of the file's clock look alike."""
        return max(self.mtime_ns, self.ctime_ns) + COARSEST_CLOCK_NS < now_ns


class ModelDigests:
    """One small file for each inode, replaced as a whole, so that commands at the same time do not disturb another."""

    def __init__(self, state_dir: Path, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._folder = state_dir / FOLDER
        self._now_ns = now_ns

    def may_remember(self, mark: Mark) -> bool:
        """Ask before the file is read."""
        return mark.tells_changes(self._now_ns())

    def known(self, mark: Mark) -> str | None:
        """SHA-256 in hex of the content with exactly this mark."""
        try:
            found = json.loads(self._file(mark).read_text())
            return str(found["sha256"]) if found["mark"] == asdict(mark) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remember(self, mark: Mark, sha256: str) -> None:
        """Of a file that had this mark before and after it was read. A disk that is full costs time, not the answer."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._replace(self._file(mark), json.dumps({"mark": asdict(mark), "sha256": sha256}))
            self._forget_oldest()

    def _file(self, mark: Mark) -> Path:
        return self._folder / f"{mark.device:x}-{mark.inode:x}.json"

    def _replace(self, path: Path, text: str) -> None:
        handle, name = tempfile.mkstemp(dir=self._folder)
        scratch = Path(name)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(text)
            scratch.replace(path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise

    def _forget_oldest(self) -> None:
        newest_first = sorted(self._folder.iterdir(), key=lambda file: file.stat().st_mtime_ns, reverse=True)
        for file in newest_first[AT_MOST:]:
            file.unlink(missing_ok=True)
