"""Digests of big files, read once."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from node_agent.disk.database import Database
from node_agent.domain.errors import StorageUnavailable


class DiskDigests:
    """A digest holds for as long as device, inode, size and both times stay; nobody can set the change time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def sha256(self, path: str) -> str:
        mark = _mark(path)
        known = self._known(path, mark)
        if known is not None:
            return known
        with Path(path).open("rb") as file:
            before = _mark_of(os.fstat(file.fileno()))
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            unchanged = before == _mark_of(os.fstat(file.fileno()))
        if unchanged:
            self._remember(path, before, digest)
        return digest

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


def _mark(path: str) -> str:
    return _mark_of(Path(path).stat())


def _mark_of(seen: os.stat_result) -> str:
    return f"{seen.st_dev}:{seen.st_ino}:{seen.st_size}:{seen.st_mtime_ns}:{seen.st_ctime_ns}"
