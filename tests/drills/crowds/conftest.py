from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.lone_plane import LonePlane, lone_plane


@pytest.fixture
async def plane() -> AsyncIterator[LonePlane]:
    async with lone_plane() as made:
        yield made
