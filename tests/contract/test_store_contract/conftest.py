from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from control_plane.store.memory import MemoryStore
from control_plane.store.postgres import PostgresStore
from control_plane.store.sqlite import SqliteStore
from tests.fakes.store_rows import StandingClock
from tests.fakes.stores import AnyStore


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: StandingClock) -> AsyncIterator[AnyStore]:
    made: AnyStore
    match request.param:
        case "sqlite":
            made = await SqliteStore.open(tmp_path / "arw.db", clock)
        case "postgresql":
            made = await PostgresStore.open(request.getfixturevalue("postgres_url"), clock)
        case _:
            made = MemoryStore(clock)
    yield made
    await made.close()
