from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from tests.fakes.relay_rig import Rig, rigged


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Callable[[], object]]:
    """The loop that both processes use."""
    del config, item
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """For Unix sockets, whose paths are limited to 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="arw-") as folder:
        yield Path(folder)


@pytest.fixture(params=["tls", "unix"])
async def rig(request: pytest.FixtureRequest, short_folder: Path) -> AsyncIterator[Rig]:
    async with rigged(short_folder, unix=request.param == "unix") as made:
        yield made


@pytest.fixture
async def unix_rig(short_folder: Path) -> AsyncIterator[Rig]:
    async with rigged(short_folder, unix=True) as made:
        yield made
