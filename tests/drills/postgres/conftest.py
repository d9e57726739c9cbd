from __future__ import annotations

import pytest

from tests.fakes.world import skip_without_engine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip_without_engine(items)
