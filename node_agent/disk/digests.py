"""Digests of big files, read once, and again when they change."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from node_agent.disk.database import Database
from node_agent.disk.read_speeds import ReadSpeeds
from node_agent.domain.errors import StorageUnavailable

COARSEST_CLOCK_NS = 2_000_000_000
"""Times of files on FAT are 2 s apart; all others that are in use are finer."""


class DiskDigests:
    """A digest holds for as long as device, inode, size and both times stay; nobody can set the change time.

    Two changes within one tick of a file's clock look alike, so that of a file which only just changed is not kept.
    """

    def __init__(self, database: Database, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._database = database
        self._now_ns = now_ns
        self._speeds = ReadSpeeds(database)

    def sha256(self, path: str) -> str:
        mark = _mark(path)
        known = self._known(path, mark)
        if known is not None:
            return known
        with Path(path).open("rb") as file:
            seen = os.fstat(file.fileno())
            before, lasting = _mark_of(seen), _tells_changes(seen, self._now_ns())
            began = time.monotonic()
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            self._speeds.seen(seen, time.monotonic() - began)
            unchanged = before == _mark_of(os.fstat(file.fileno()))
        if lasting and unchanged:
            self._remember(path, before, digest)
        return digest

    def read_speed(self, path: str) -> int | None:
        return self._speeds.of(path)

    def _known(self, path: str, mark: str) -> str | None:
        with self._database.reading() as connection:
            row = connection.execute("SELECT sha256 FROM digest WHERE path = ? AND mark = ?", (path, mark)).fetchone()
        return row[0] if row else None

    def _remember(self, path: str, mark: str, digest: str) -> None:
        """A disk that is full costs time, not the answer."""
        with contextlib.suppress(StorageUnavailable), self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO digest (path, mark, sha256) VALUES (?, ?, ?)", (path, mark, digest)
            )


def _tells_changes(seen: os.stat_result, now_ns: int) -> bool:
    return max(seen.st_mtime_ns, seen.st_ctime_ns) + COARSEST_CLOCK_NS < now_ns


def _mark(path: str) -> str:
    return _mark_of(Path(path).stat())


def _mark_of(seen: os.stat_result) -> str:
    return f"{seen.st_dev}:{seen.st_ino}:{seen.st_size}:{seen.st_mtime_ns}:{seen.st_ctime_ns}"
