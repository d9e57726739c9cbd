"""A node is given so many runtimes and no more."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from control_plane.domain.errors import InvalidArgument
from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.node_view import MAX_PLACED, NodeView
from control_plane.domain.placing.placement import place, verdicts
from control_plane.domain.runtime import DesiredState, PlacementSettings, PlacementStrategy, Runtime, RuntimeSpec
from control_plane.sessions.rules import MAX_REPORTED
from control_plane.settings import NODE_RUNTIMES, Settings
from control_plane.use_cases.circumstances import Circumstances
from control_plane.use_cases.delete_runtime import DeleteRuntime
from control_plane.use_cases.place_runtimes import PlaceRuntimes
from tests.fakes.control_plane import TINY, World, a_model, a_node, a_runtime, a_spec, seen

MODELS = {TINY: a_model()}
PACKED = a_spec(placement=PlacementSettings(PlacementStrategy.BINPACK))


def two_nodes(most: int) -> dict[NodeId, NodeView]:
    return {NodeId(name): replace(seen(a_node(name)), most_runtimes=most) for name in ("n1", "n2")}


def many(number: int, **changed: Any) -> list[Runtime]:
    return [a_runtime(f"r{each:04}", **changed) for each in range(number)]


@pytest.mark.parametrize("spec", [a_spec(), PACKED])
def test_what_a_node_has_no_place_for_goes_to_the_next_and_then_nowhere(spec: RuntimeSpec) -> None:
    found = place(many(8, spec=spec), MODELS, two_nodes(3))
    assert Counter(each.node for each in found) == {"n1": 3, "n2": 3, None: 2}
    (problem,) = {each.problem.reason for each in found if each.problem}
    assert problem == "NODE_FULL"
    assert all("Join another node" in each.problem.remedy for each in found if each.problem)


def test_what_has_its_place_keeps_it_and_what_is_shut_down_counts() -> None:
    stopped = many(4, node="n1", desired_state=DesiredState.STOPPED)
    found = place([*stopped, a_runtime("new")], MODELS, {NodeId("n1"): two_nodes(3)[NodeId("n1")]})
    assert [each.node for each in found] == [None, "n1", "n1", "n1", "n1"]


def test_those_that_are_not_asked_about_count_too() -> None:
    (found,) = place([a_runtime()], MODELS, two_nodes(3), {NodeId("n1"): 3})
    assert found.node == "n2"


def test_an_explanation_says_which_node_is_full() -> None:
    first, second = verdicts(a_runtime(), a_model(), two_nodes(3).values(), {NodeId("n1"): 3})
    assert [problem.reason for problem in first.problems] == ["NODE_FULL"]
    assert (second.problems, second.chosen) == ((), True)


@pytest.mark.parametrize("state", DesiredState)
async def test_a_place_that_becomes_free_is_taken(state: DesiredState) -> None:
    world = World()
    await world.has(a_model(), a_node("n1"), a_runtime("a", desired_state=state), a_runtime("b"))
    world.fleet.connect("n1")
    circumstances = Circumstances(world.fleet, world.clock, most_runtimes=1)
    placing = PlaceRuntimes(world.store, world.mirror, world.fleet, world.clock, circumstances)
    await placing()
    waiting = await world.runtime("b")
    assert (waiting.node, waiting.placement_problem and waiting.placement_problem.reason) == (None, "NODE_FULL")
    await DeleteRuntime(world.store, world.clock)(RuntimeId("a"))
    await placing()
    assert (await world.runtime("b")).node == "n1"


def test_the_limit_is_said_by_settings_else_by_the_environment() -> None:
    assert Settings().most_runtimes({}) == MAX_PLACED
    assert Settings().most_runtimes({"ARW_NODE_RUNTIMES": "50"}) == 50
    assert Settings(node_runtimes=70).most_runtimes({"ARW_NODE_RUNTIMES": "50"}) == 70
    for refused in (
        lambda: Settings(node_runtimes=9_001),
        lambda: Settings().most_runtimes({"ARW_NODE_RUNTIMES": "x"}),
    ):
        with pytest.raises(InvalidArgument):
            refused()


def test_a_node_can_tell_of_all_that_it_may_be_given() -> None:
    assert MAX_PLACED <= NODE_RUNTIMES[1] < MAX_REPORTED
