"""Opens the store that the settings name."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from control_plane.domain.errors import StorageUnavailable
from control_plane.store.sqlite import SqliteStore
from control_plane.use_cases.ports import Clock, Store, Upkeep


class OpenStore(Store, Upkeep, Protocol):
    async def close(self) -> None:
        """End after the changes that wait are committed."""


async def open_store(url: str, file: Path, clock: Clock) -> OpenStore:
    """PostgreSQL at `url`; without one, SQLite in `file`. StorageUnavailable."""
    if not url:
        return await SqliteStore.open(file, clock)
    try:
        # Loaded by those who use it alone: it costs 12 MB of memory.
        from control_plane.store.postgres import PostgresStore  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        raise StorageUnavailable(
            f"The driver for PostgreSQL is not installed: {error}.", "Install it: pip install 'arw[postgresql]'."
        ) from error
    return await PostgresStore.open(url, clock, sole=True)
