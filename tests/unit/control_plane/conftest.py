from __future__ import annotations

import pytest

from control_plane.domain.instance import InstanceState
from tests.fakes.clock import NOON
from tests.fakes.control_plane import World, a_model, a_node, a_runtime
from tests.fakes.jobs import Workshop


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def shop(world: World) -> Workshop:
    """A runtime that serves on a node that is there, and another model."""
    await world.has(a_model(), a_model("other", sha256="cd" * 32), a_node("n1"), a_runtime(node="n1"))
    world.fleet.connect("n1", NOON)
    made = Workshop(world)
    made.says(InstanceState.READY, generation=1)
    return made
