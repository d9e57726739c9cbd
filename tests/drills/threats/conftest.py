from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.fakes.proxied_site import ProxiedSite, new_site
from tests.fakes.running_plane import RunningPlane, running_plane
from tests.fakes.world import skip_without_engine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip_without_engine(items)


@pytest.fixture
async def plane(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningPlane]:
    directory = Path(tempfile.mkdtemp(prefix="arw-drill-"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    async with running_plane(directory) as running:
        yield running
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def site() -> Iterator[ProxiedSite]:
    """A control plane in a process of its own, and a node that joined and does not run yet."""
    with new_site() as made:
        yield made
