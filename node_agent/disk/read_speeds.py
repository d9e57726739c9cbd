"""How fast each storage of this machine gave big files, as their digests were made."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from node_agent.disk.database import Database
from node_agent.domain.errors import StorageUnavailable

SMALLEST_BYTES = 64 << 20
"""What is smaller tells more of caches than of the storage."""
KEPT = 8
"""Of each storage; the slowest of them counts, for others were read from the page cache."""
KEPT_IN_ALL = 128


class ReadSpeeds:
    """A disk that is full costs what was to be remembered."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, path: str) -> int | None:
        """Bytes per second of the storage that holds the file; None: nothing was read from it yet."""
        try:
            storage = _storage(Path(path).stat())
            with self._database.reading() as connection:
                row = connection.execute(
                    "SELECT MIN(bytes_per_second) FROM read_speed WHERE storage = ?", (storage,)
                ).fetchone()
        except (OSError, StorageUnavailable):
            return None
        return row[0]  # type: ignore[no-any-return]

    def seen(self, file: os.stat_result, seconds: float) -> None:
        if file.st_size < SMALLEST_BYTES or seconds <= 0:
            return
        storage, speed = _storage(file), max(1, int(file.st_size / seconds))
        with contextlib.suppress(StorageUnavailable), self._database.transaction() as connection:
            connection.execute("INSERT INTO read_speed (storage, bytes_per_second) VALUES (?, ?)", (storage, speed))
            connection.execute(
                "DELETE FROM read_speed WHERE storage = ? AND id NOT IN"
                " (SELECT id FROM read_speed WHERE storage = ? ORDER BY id DESC LIMIT ?)",
                (storage, storage, KEPT),
            )
            connection.execute(
                "DELETE FROM read_speed WHERE id NOT IN (SELECT id FROM read_speed ORDER BY id DESC LIMIT ?)",
                (KEPT_IN_ALL,),
            )


def _storage(seen: os.stat_result) -> str:
    return str(seen.st_dev)
