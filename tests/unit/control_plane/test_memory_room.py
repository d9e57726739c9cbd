"""Nothing is placed where the memory is promised to others."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.accelerator import Accelerator, AcceleratorKind
from control_plane.domain.footprint import Footprint, FootprintKey, options_of
from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.model import Model, ModelPart
from control_plane.domain.node import Node
from control_plane.domain.node_view import NodeView
from control_plane.domain.placing.house import Assignment
from control_plane.domain.placing.memory_need import Need, need_of
from control_plane.domain.placing.placement import place, verdicts
from control_plane.domain.placing.rooms import Rooms
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import DesiredState, EngineSettings, MissingAccelerator, Runtime
from control_plane.use_cases.delete_runtime import DeleteRuntime
from control_plane.use_cases.place_runtimes import PlaceRuntimes
from control_plane.use_cases.update_node import UpdateNode
from tests.fakes.control_plane import (
    ENGINE,
    SIZE,
    TINY,
    World,
    a_model,
    a_node,
    a_runtime,
    a_spec,
    an_inventory,
    seen,
)

N1, N2 = NodeId("n1"), NodeId("n2")
CPU, CUDA = AcceleratorKind.CPU, AcceleratorKind.GPU_CUDA
MODELS = {TINY: a_model()}
BIG = a_model("big", size_bytes=4 * SIZE, sha256="ef" * 32)
ON_GPU = a_spec(accelerator=CUDA, on_missing_accelerator=MissingAccelerator.FAIL)


def with_memory(size: int, name: str = "n1", *, overcommit: bool = False) -> Node:
    return a_node(name, inventory=replace(an_inventory(), memory_bytes=size), overcommit=overcommit)


def with_gpu(*sizes: int | None, memory_bytes: int = 1024 * SIZE, **more: object) -> Node:
    devices = tuple(Accelerator(f"g{n}", CUDA, memory_bytes=size, **more) for n, size in enumerate(sizes))  # type: ignore[arg-type]
    return a_node("n1", inventory=replace(an_inventory(), accelerators=devices, memory_bytes=memory_bytes))


def runtimes(count: int, **changed: object) -> list[Runtime]:
    return [a_runtime(f"r{number}", **changed) for number in range(count)]  # type: ignore[arg-type]


def placed(asked: list[Runtime], *nodes: Node) -> list[Assignment]:
    return place(asked, MODELS, {node.id: seen(node) for node in nodes})


def refusal(problem: Problem | None) -> Problem:
    assert problem is not None
    assert problem.reason == "MEMORY_INSUFFICIENT"
    return problem


def test_what_is_placed_together_fits_together_and_the_refusal_says_what_is_free_and_needed() -> None:
    found = placed(runtimes(4), with_memory(3 * SIZE))
    assert [each.node for each in found] == [N1, N1, None, None]
    problem = refusal(found[2].problem)
    assert "needs about 2 MiB; of the 3 MiB of node n1 0 MiB are free" in problem.text
    assert "arwctl nodes update n1 --overcommit" in problem.remedy
    assert int(problem.metadata["free_bytes"]) < int(problem.metadata["needed_bytes"])


def test_what_one_node_has_no_room_for_goes_to_another() -> None:
    spread = placed(runtimes(5), with_memory(3 * SIZE), with_memory(100 * SIZE, "n2"))
    assert Counter(each.node for each in spread) == {N1: 2, N2: 3}


def test_a_node_that_may_be_overcommitted_takes_more_but_nothing_that_is_too_large_alone() -> None:
    assert {each.node for each in placed(runtimes(9), with_memory(3 * SIZE, overcommit=True))} == {N1}
    assert [each.node for each in placed(runtimes(1), with_memory(SIZE, overcommit=True))] == [None]


def test_what_is_shut_down_takes_nothing() -> None:
    asleep = runtimes(5, node="n1", desired_state=DesiredState.STOPPED)
    assert {each.node for each in placed([*asleep, a_runtime("new")], with_memory(2 * SIZE))} == {N1}


def test_what_has_its_place_keeps_it_though_the_node_has_less_memory_now() -> None:
    assert [each.node for each in placed(runtimes(9, node="n1"), with_memory(SIZE))] == [N1] * 9


def test_what_was_measured_counts_for_those_that_are_there_too() -> None:
    key = FootprintKey(a_model().sha256, ENGINE.sha256, options_of(EngineSettings()), CPU)
    small = {key: {N1: Footprint(key, SIZE // 2)}}
    view = replace(seen(with_memory(2 * SIZE)), footprints=small)
    spec = a_spec(accelerator=CPU)
    found = place(runtimes(5, spec=spec), MODELS, {N1: view})
    assert [each.node for each in found] == [N1] * 4 + [None]
    assert "took 1 MiB" in refusal(found[4].problem).text


def test_weights_go_to_a_device_that_has_its_own_memory_and_are_held_against_it() -> None:
    found = placed(runtimes(3, spec=ON_GPU), with_gpu(3 * SIZE, memory_bytes=SIZE))
    assert [each.node for each in found] == [N1, N1, None]
    assert "of the 3 MiB of its GPU (CUDA) of node n1" in refusal(found[2].problem).text
    alone = placed(runtimes(1, spec=ON_GPU), with_gpu(SIZE))
    assert "has 1 MiB on its GPU (CUDA)" in refusal(alone[0].problem).text


def test_the_devices_of_one_kind_count_together_and_a_whole_beside_its_parts_does_not() -> None:
    assert {each.node for each in placed(runtimes(3, spec=ON_GPU), with_gpu(2 * SIZE, 2 * SIZE))} == {N1}
    node = with_gpu(2 * SIZE)
    part = Accelerator("part", CUDA, memory_bytes=2 * SIZE, partition_of="g0")
    split = replace(node, inventory=replace(node.inventory, accelerators=(*node.inventory.accelerators, part)))
    assert [each.node for each in placed(runtimes(2, spec=ON_GPU), split)] == [N1, None]


@pytest.mark.parametrize("node", [with_gpu(None), with_gpu(SIZE, None), with_gpu(SIZE, unified_memory=True)])
def test_of_devices_that_do_not_say_or_share_the_machines_memory_that_of_the_machine_counts(node: Node) -> None:
    assert need_of(a_runtime(spec=ON_GPU), a_model(), seen(node)).device == 0
    assert {each.node for each in placed(runtimes(3, spec=ON_GPU), node)} == {N1}


def test_a_number_of_layers_leaves_the_estimate_with_the_machine() -> None:
    partly = replace(ON_GPU, settings=EngineSettings(gpu_layers=4))
    assert need_of(a_runtime(spec=partly), a_model(), seen(with_gpu(SIZE))) == Need(int(SIZE * 1.1))


def test_a_measure_tells_both_memories_apart() -> None:
    key = FootprintKey(a_model().sha256, ENGINE.sha256, options_of(EngineSettings()), CUDA)
    view = replace(seen(with_gpu(8 * SIZE)), footprints={key: {N1: Footprint(key, 5, device_memory_bytes=7)}})
    assert need_of(a_runtime(spec=ON_GPU), a_model(), view) == Need(5, 7, is_measured=True)


def test_a_device_of_which_nobody_told_is_held_to_the_estimate() -> None:
    key = FootprintKey(a_model().sha256, ENGINE.sha256, options_of(EngineSettings()), CUDA)
    view = replace(seen(with_gpu(8 * SIZE)), footprints={key: {N1: Footprint(key, 5)}})
    assert need_of(a_runtime(spec=ON_GPU), a_model(), view) == Need(5, int(SIZE * 1.1), is_measured=True)


def test_an_explanation_says_what_fills_a_node() -> None:
    rooms = Rooms(MODELS, lambda _: runtimes(2, node="n1"))
    (verdict,) = verdicts(a_runtime(), a_model(), [seen(with_memory(3 * SIZE))], {N1: 2}, rooms)
    assert [refusal(problem).reason for problem in verdict.problems] == ["MEMORY_INSUFFICIENT"]


def test_what_is_too_large_alone_is_told_once() -> None:
    (verdict,) = verdicts(a_runtime(), a_model(), [seen(with_memory(SIZE))], {}, Rooms(MODELS, lambda _: runtimes(2)))
    assert len(verdict.problems) == 1


@pytest.fixture
async def full() -> tuple[World, PlaceRuntimes]:
    """One node with room for one, which "old" has taken; "young" waits."""
    world = World()
    await world.has(a_model(), with_memory(2 * SIZE), a_runtime("old"))
    world.fleet.connect("n1")
    place_all = PlaceRuntimes(world.store, world.mirror, world.fleet, world.clock)
    await place_all()
    await declare(world, "young")
    assert await place_all() == 1
    refusal((await world.runtime("young")).placement_problem)
    return world, place_all


async def declare(world: World, name: str) -> None:
    await world.has(a_runtime(name, revision=await world.revision()))


async def test_what_waits_for_memory_is_placed_when_another_leaves(full: tuple[World, PlaceRuntimes]) -> None:
    world, place_all = full
    assert await place_all() == 0
    await DeleteRuntime(world.store, world.clock)(RuntimeId("old"))
    assert await place_all() == 1
    assert (await world.runtime("young")).node == N1


async def test_what_waits_for_memory_is_placed_when_the_node_may_be_overcommitted(
    full: tuple[World, PlaceRuntimes],
) -> None:
    world, place_all = full
    view = await UpdateNode(world.store, world.fleet, world.clock)(N1, overcommit=True)
    assert view.node.overcommit
    assert await place_all() == 1
    assert (await world.runtime("young")).node == N1


async def test_what_is_free_is_no_news_to_those_who_wait() -> None:
    world = World()
    big = a_runtime("big", spec=a_spec(model=BIG.id))
    await world.has(a_model(), BIG, with_memory(5 * SIZE), *runtimes(2, node="n1"), big)
    world.fleet.connect("n1")
    place_all = PlaceRuntimes(world.store, world.mirror, world.fleet, world.clock)
    assert await place_all() == 1
    assert "2 MiB are free" in refusal((await world.runtime("big")).placement_problem).text
    await DeleteRuntime(world.store, world.clock)(RuntimeId("r0"))
    assert await place_all() == 0
    await DeleteRuntime(world.store, world.clock)(RuntimeId("r1"))
    assert await place_all() == 1
    assert (await world.runtime("big")).node == N1


SIZES = st.sampled_from([0, SIZE, 2 * SIZE, 3 * SIZE, 5 * SIZE])
SEEING = replace(a_model(), projector=ModelPart("/p.gguf", "ab" * 32, SIZE))


@given(
    st.lists(st.tuples(SIZES, st.booleans()), max_size=4),
    st.lists(st.tuples(st.sampled_from([None, "n0", "n1"]), st.booleans()), max_size=9),
    st.sampled_from([a_model(), SEEING]),
)
def test_nothing_new_is_ever_more_than_the_memory_that_is_left(
    sizes: list[tuple[int, bool]], asked: list[tuple[str | None, bool]], model: Model
) -> None:
    views: dict[NodeId, NodeView] = {
        NodeId(f"n{n}"): seen(with_memory(size, f"n{n}", overcommit=beyond)) for n, (size, beyond) in enumerate(sizes)
    }
    state = {True: DesiredState.RUNNING, False: DesiredState.STOPPED}
    rows = [a_runtime(f"r{n}", node, desired_state=state[runs]) for n, (node, runs) in enumerate(asked)]
    found = {each.runtime: each.node for each in place(rows, {TINY: model}, views)}
    for node, view in views.items():
        here = [row for row in rows if found[row.id] == node and row.desired_state is DesiredState.RUNNING]
        fresh = [row for row in here if row.node != node]
        size = view.node.inventory.memory_bytes
        if fresh and size and not view.node.overcommit:
            assert sum(need_of(row, model, view).host for row in here) <= size
