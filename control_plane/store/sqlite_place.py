"""Where the open files of a database lie, and whether they may be written.

SQLite writes on into what was moved away, and nobody finds that again. And it maps the index of its log, also to read:
where that may not be written any more, the kernel ends the process.
"""

from __future__ import annotations

import errno
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
UNWRITABLE_FAULT = (
    "The database cannot be written.",
    (
        "Give the user who runs the control plane write access to the database file and its folder. If their file "
        "system became read-only, the system's log says why."
    ),
)

_UNWRITABLE = {
    errno.EROFS: sqlite3.SQLITE_READONLY,
    errno.EPERM: sqlite3.SQLITE_READONLY,
    errno.EIO: sqlite3.SQLITE_IOERR,
}


class Place:
    def __init__(self, path: Path) -> None:
        """Once they are open."""
        self._files = (str(path), f"{path}-wal")
        self._known = self._seen()

    def check(self) -> None:
        """sqlite3.OperationalError: as `check_writable`, and of code MOVED when other files are there, or none."""
        if self._seen() != self._known:
            raise _error(MOVED, "the files are not those that were opened")
        self.check_writable()

    def check_writable(self) -> None:
        """sqlite3.OperationalError when the file system lets nobody write, as after a fault of its disk."""
        try:
            # Not the index itself: to close it would end the locks that this process has on it.
            os.close(os.open(self._files[1], os.O_WRONLY | os.O_CLOEXEC))
        except OSError as error:
            if error.errno in _UNWRITABLE:
                raise _error(_UNWRITABLE[error.errno], str(error)) from None

    def _seen(self) -> list[tuple[int, int] | None]:
        return [_identity(file) for file in self._files]


def _error(code: int, text: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


def _identity(file: str) -> tuple[int, int] | None:
    try:
        found = os.stat(file)  # noqa: PTH116 - before each transaction
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
