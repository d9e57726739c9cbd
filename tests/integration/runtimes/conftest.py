from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arwctl import tiny_model
from tests.fakes.local_node import LocalNode


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.write(tmp_path_factory.mktemp("model") / "tiny.gguf")


@pytest.fixture
async def node(tmp_path: Path, tiny: Path) -> AsyncIterator[LocalNode]:
    made = LocalNode(tmp_path, tiny)
    yield made
    await made.clean_up()
