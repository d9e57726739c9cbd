"""Opens the store that the settings name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from control_plane.domain.errors import StorageUnavailable
from control_plane.store.board_view import Limits
from control_plane.store.sqlite import SqliteStore
from control_plane.use_cases.board import Board
from control_plane.use_cases.ports import Clock, Store, Upkeep

if TYPE_CHECKING:
    from control_plane.store.postgres_look import Seen

NOTE = "history.json"


class OpenStore(Store, Upkeep, Protocol):
    def board(self, limits: Limits | None = None, /) -> Board:
        """For this process, which is one replica. It ends with the store at the latest."""

    async def close(self) -> None:
        """End after the changes that wait are committed."""


async def open_store(url: str, file: Path, clock: Clock) -> OpenStore:
    """PostgreSQL at `url`, with a note beside `file`; without one, SQLite in `file`. StorageUnavailable."""
    if not url:
        return await SqliteStore.open(file, clock)
    with _driver():
        # Loaded by those who use it alone: it costs 12 MB of memory.
        from control_plane.store.postgres import PostgresStore  # noqa: PLC0415 - see above
    return await PostgresStore.open(url, clock, note=file.parent / NOTE)


def look_at(url: str) -> Seen:
    """What is in the PostgreSQL database at `url`, which is not changed. StorageUnavailable."""
    with _driver():
        from control_plane.store.postgres_look import look  # noqa: PLC0415 - as above
    return look(url)


@contextmanager
def _driver() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise StorageUnavailable(
            f"The driver for PostgreSQL is not installed: {error}.", "Install it: pip install 'arw[postgresql]'."
        ) from error
