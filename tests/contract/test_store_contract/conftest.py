from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from control_plane.store.memory import MemoryStore
from control_plane.store.sqlite import SqliteStore
from tests.fakes.store_rows import StandingClock
from tests.fakes.stores import AnyStore


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: StandingClock) -> AsyncIterator[AnyStore]:
    made: AnyStore = MemoryStore(clock)
    if request.param == "sqlite":
        made = await SqliteStore.open(tmp_path / "arw.db", clock)
    yield made
    await made.close()
