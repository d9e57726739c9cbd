"""Where the open files of a database lie: SQLite writes on into what was moved away, and nobody finds that again."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

MOVED = sqlite3.SQLITE_READONLY_DBMOVED
MOVED_FAULT = (
    "The database file was moved or removed while it was in use.",
    (
        "Put arw.db and arw.db-wal back as they were. When they are gone for good: stop the control plane, and restore "
        "the newest backup: arwctl admin restore FILE"
    ),
)
"""What happened, what to do next."""


class Place:
    def __init__(self, path: Path) -> None:
        """Once they are open."""
        self._files = (str(path), f"{path}-wal")
        self._known = self._seen()

    def check(self) -> None:
        """sqlite3.OperationalError, of code MOVED, when other files are there, or none."""
        if self._seen() != self._known:
            error = sqlite3.OperationalError("the files are not those that were opened")
            error.sqlite_errorcode = MOVED
            raise error

    def _seen(self) -> list[tuple[int, int] | None]:
        return [_identity(file) for file in self._files]


def _identity(file: str) -> tuple[int, int] | None:
    try:
        found = os.stat(file)  # noqa: PTH116 - before each transaction
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
