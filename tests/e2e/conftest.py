from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.world import World, new_world, skip_without_engine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip_without_engine(items)


@pytest.fixture
def world() -> Iterator[World]:
    with new_world() as made:
        yield made
