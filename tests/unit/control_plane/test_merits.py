"""What speaks for a node among those that would do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.footprint import Footprint, FootprintKey
from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.instance import InstanceState
from control_plane.domain.node import Node
from control_plane.domain.node_view import NodeView
from control_plane.domain.placing.merits import MOST_STRAIN, strain
from control_plane.domain.placing.placement import place, verdicts
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import Departure, PlacementSettings, PlacementStrategy, Runtime
from control_plane.domain.view import view_of
from control_plane.use_cases.explain_runtime import ExplainRuntime
from control_plane.use_cases.place_runtimes import PlaceRuntimes
from tests.fakes.clock import NOON
from tests.fakes.control_plane import (
    ENGINE,
    SIZE,
    TINY,
    World,
    a_budget,
    a_model,
    a_node,
    a_runtime,
    a_spec,
    an_instance,
    an_inventory,
    seen,
)

MODELS = {TINY: a_model()}
N1, N2 = NodeId("n1"), NodeId("n2")
PACKED = a_spec(placement=PlacementSettings(PlacementStrategy.BINPACK))
KEY = FootprintKey(a_model().sha256, ENGINE.sha256, "of other options", AcceleratorKind.GPU_CUDA)


def placed(runtimes: Sequence[Runtime], *nodes: NodeView) -> Counter[NodeId | None]:
    return Counter(each.node for each in place(runtimes, MODELS, {view.node.id: view for view in nodes}))


def many(count: int, **changed: object) -> list[Runtime]:
    return [a_runtime(f"r{number}", **changed) for number in range(count)]  # type: ignore[arg-type]


def small(name: str, runtimes: int) -> Node:
    """With room for so many."""
    return a_node(name, inventory=replace(an_inventory(), memory_bytes=runtimes * 1153434))


def test_packed_runtimes_fill_one_node_before_the_next() -> None:
    nodes = [seen(small(name, 3)) for name in ("n1", "n2", "n3")]
    assert placed(many(3, spec=PACKED), *nodes) == {"n1": 3}
    assert placed(many(5, spec=PACKED), *nodes) == {"n1": 3, "n2": 2}
    assert placed(many(5), *nodes) == {"n1": 2, "n2": 2, "n3": 1}


def test_packed_runtimes_go_where_most_are_already_also_those_put_there_in_the_same_go() -> None:
    nodes = [seen(a_node("n1")), seen(a_node("n2"))]
    there = [a_runtime(f"a{number}", "n2") for number in range(2)]
    assert placed([*there, *many(2, spec=PACKED)], *nodes) == {"n2": 4}
    other = replace(PACKED, tags={"a": "b"}, auto_start=True, node_selector={})
    first = a_runtime("a", spec=replace(other, adapter="llama.cpp", settings=replace(PACKED.settings, slots=3)))
    assert placed([first, *many(3, spec=PACKED)], *nodes) == {"n1": 4}


def test_a_node_that_had_the_model_in_memory_is_worth_a_few_runtimes_more() -> None:
    footprints = {KEY: {N2: Footprint(KEY, SIZE)}}
    cold, warm = (replace(seen(a_node(name)), footprints=footprints) for name in ("n1", "n2"))
    assert placed(many(1), cold, warm) == {"n2": 1}
    assert placed(many(5), cold, warm) == {"n2": 4, "n1": 1}
    _, told = verdicts(a_runtime(), a_model(), [cold, warm], {N2: 1})
    assert (told.score, told.score_reasons) == (
        2,
        ("-1 1 other runtimes placed here", "+3 its model was loaded here before"),
    )


def test_where_it_ran_last_it_goes_rather_than_elsewhere() -> None:
    back = a_runtime(departure=Departure(N2, NOON))
    assert placed([back], seen(a_node("n1")), seen(a_node("n2"))) == {"n2": 1}


def test_a_node_with_trouble_or_failing_runtimes_is_the_last_choice_and_says_why() -> None:
    well, strained = seen(a_node("n2")), replace(seen(a_node("n1")), strain=3)
    assert placed(many(1), strained, well) == {"n2": 1}
    problems = (Problem("REMOVAL_GUARD", "It holds back a removal."),)
    troubled = seen(a_node("n1"))
    troubled = replace(troubled, liveness=replace(troubled.liveness, problems=problems))
    assert placed(many(1), troubled, well) == {"n2": 1}
    first, second = verdicts(a_runtime(), a_model(), [troubled, replace(strained, node=a_node("n3"))], {})
    assert first.score_reasons[1:] == ("-2 the node says that something is wrong with it",)
    assert second.score_reasons[1:] == ("-3 runtimes here fail or were restarted of late",)


def test_strain_is_what_the_health_of_the_runtimes_there_adds_up_to() -> None:
    instances = [
        an_instance("well"),
        an_instance("restarted", restart_budget=a_budget(1)),
        an_instance("slow", state=InstanceState.DEGRADED),
        an_instance("broken", state=InstanceState.ERROR),
    ]
    views = [view_of(a_runtime(one.runtime, "n1"), one, online=True) for one in instances]
    assert [strain([view]) for view in views] == [0, 1, 1, 2]
    assert strain(views) == 4
    assert strain(views * 10) == MOST_STRAIN


async def test_what_fails_on_a_node_keeps_new_ones_away_and_the_explanation_says_so() -> None:
    world = World()
    await world.has(a_model(), a_node("n1"), a_node("n2"), a_runtime("bad", "n1"), a_runtime("good", "n2"))
    for name in ("n1", "n2"):
        world.fleet.connect(name)
    place_all = PlaceRuntimes(world.store, world.mirror, world.fleet, world.clock)
    await place_all()
    world.fleet.record(an_instance("bad", state=InstanceState.ERROR))
    await world.has(a_runtime("new"))
    explained = await ExplainRuntime(world.store, world.fleet, world.circumstances)(RuntimeId("new"))
    assert [verdict.score for verdict in explained.verdicts] == [-3, -1]
    await place_all()
    assert (await world.runtime("new")).node == N2
    world.fleet.record(an_instance("bad"))
    await world.has(a_runtime("newer"), a_runtime("newest"))
    await place_all()
    assert {(await world.runtime(name)).node for name in ("newer", "newest")} == {N1}


async def test_a_runtime_remembers_the_place_that_it_left() -> None:
    world = World()
    await world.has(a_model(), a_node("n2"), a_runtime(node="n1"))
    world.fleet.connect("n2")
    await PlaceRuntimes(world.store, world.mirror, world.fleet, world.clock)()
    assert (await world.runtime()).departure == Departure(N1, NOON)
