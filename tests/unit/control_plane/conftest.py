from __future__ import annotations

import pytest

from tests.fakes.control_plane import World


@pytest.fixture
def world() -> World:
    return World()
