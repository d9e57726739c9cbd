from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.fakes.running_plane import RunningPlane, running_plane


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short path: Unix sockets lie below it."""
    directory = Path(tempfile.mkdtemp(prefix="arw"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
async def plane(state: Path) -> AsyncIterator[RunningPlane]:
    async with running_plane(state) as running:
        yield running
