"""A node that is full by its owner's word gets nothing more, and what waits for it gets its place."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.model import ModelPart
from control_plane.domain.node import LocalLimits, Node
from control_plane.domain.node_view import NodeView
from control_plane.domain.placing.house import Assignment
from control_plane.domain.placing.placement import place, verdicts
from control_plane.domain.placing.rooms import Rooms
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import DesiredState, Runtime
from control_plane.use_cases.delete_runtime import DeleteRuntime
from control_plane.use_cases.explain_runtime import ExplainRuntime
from control_plane.use_cases.place_runtimes import PlaceRuntimes
from tests.fakes.control_plane import SIZE, TINY, World, a_model, a_node, a_runtime, an_inventory, seen

MODELS = {TINY: a_model()}
"""One runtime of it counts as 1.1 times SIZE."""
N1, N2 = NodeId("n1"), NodeId("n2")


def limited(max_runtimes: int | None = None, memory_bytes: int | None = None) -> Node:
    limits = LocalLimits(file="/etc/n.toml", max_runtimes=max_runtimes, memory_bytes=memory_bytes)
    return a_node("n1", inventory=replace(an_inventory(), limits=limits))


def runtimes(count: int, **changed: object) -> list[Runtime]:
    return [a_runtime(f"r{number}", **changed) for number in range(count)]  # type: ignore[arg-type]


def placed(asked: list[Runtime], *nodes: Node) -> list[Assignment]:
    return place(asked, MODELS, {node.id: seen(node) for node in nodes})


def rule(problem: Problem | None) -> tuple[str, str]:
    assert problem is not None
    assert problem.remedy.startswith("Ask the owner of node n1: rule ")
    return problem.reason, problem.metadata["rule"]


@pytest.mark.parametrize(
    ("limits", "named"),
    [({"max_runtimes": 2}, "max_runtimes"), ({"memory_bytes": 3 * SIZE}, "memory.total")],
)
def test_what_is_placed_in_one_go_counts_too(limits: dict[str, int], named: str) -> None:
    found = placed(runtimes(4), limited(**limits))
    assert [each.node for each in found] == [N1, N1, None, None]
    assert rule(found[2].problem) == rule(found[3].problem) == ("LOCAL_POLICY_DENIED", named)
    overflow = placed(runtimes(4), limited(**limits), a_node("n2"))
    assert Counter(each.node for each in overflow) == {N1: 2, N2: 2}
    assert Counter(each.node for each in placed(runtimes(7), limited(**limits), a_node("n2"))) == {N1: 2, N2: 5}


def test_only_what_is_to_run_takes_room_or_needs_it() -> None:
    asleep = runtimes(3, node="n1", desired_state=DesiredState.STOPPED)
    waking = a_runtime("waking")
    assert [each.node for each in placed([*asleep, waking], limited(max_runtimes=1))] == [N1] * 4
    awake = a_runtime("awake", "n1")
    sleeper = a_runtime("sleeper", desired_state=DesiredState.STOPPED)
    full = placed([awake, sleeper, waking], limited(max_runtimes=1))
    assert {each.runtime: each.node for each in full} == {"awake": N1, "sleeper": N1, "waking": None}


def test_what_has_its_place_keeps_it_though_the_owner_gives_less_now() -> None:
    assert [each.node for each in placed(runtimes(3, node="n1"), limited(max_runtimes=1), a_node("n2"))] == [N1] * 3


def test_a_projector_counts_and_what_is_larger_than_what_is_left_goes_elsewhere() -> None:
    seeing = replace(a_model(), projector=ModelPart("/p.gguf", "ab" * 32, 2 * SIZE))
    node = seen(limited(memory_bytes=3 * SIZE))
    assert place([a_runtime()], {TINY: seeing}, {N1: node})[0].problem is not None
    assert place([a_runtime()], MODELS, {N1: node})[0].node == N1


def test_those_placed_beside_count_and_a_node_without_limits_is_never_counted() -> None:
    asked: list[NodeId] = []

    def beside(node: NodeId) -> list[Runtime]:
        asked.append(node)
        return runtimes(2, node="n1")

    unknown = a_node("n2", inventory=replace(an_inventory(), memory_bytes=0))
    views = {N1: seen(limited(max_runtimes=3)), N2: seen(unknown)}
    found = place([a_runtime("a"), a_runtime("b"), a_runtime("c")], MODELS, views, {N1: 2, N2: 9}, beside)
    assert [each.node for each in found] == [N1, N2, N2]
    assert set(asked) == {N1}


def test_an_explanation_says_which_rule_fills_a_node() -> None:
    rooms = Rooms(MODELS, lambda _: runtimes(2, node="n1"))
    (verdict,) = verdicts(a_runtime(), a_model(), [seen(limited(max_runtimes=2))], {N1: 2}, rooms)
    assert [rule(problem) for problem in verdict.problems] == [("LOCAL_POLICY_DENIED", "max_runtimes")]
    assert "the 2 runtimes that its owner lets run at once" in verdict.problems[0].text


async def test_what_waits_for_a_full_node_is_placed_when_another_leaves_it() -> None:
    world = World()
    await world.has(a_model(), limited(max_runtimes=1), a_runtime("old"))
    world.fleet.connect("n1")
    place_all = PlaceRuntimes(world.store, world.mirror, world.fleet, world.clock)
    assert await place_all() == 1
    await world.has(a_runtime("young", revision=await world.revision()))
    await world.store.write(lambda tx: tx.revise("runtimes", "young"))
    assert await place_all() == 1
    young = await world.runtime("young")
    assert rule(young.placement_problem) == ("LOCAL_POLICY_DENIED", "max_runtimes")
    explained = await ExplainRuntime(world.store, world.fleet, world.circumstances)(RuntimeId("young"))
    assert [rule(each) for verdict in explained.verdicts for each in verdict.problems] == [
        rule(young.placement_problem)
    ]
    assert await place_all() == 0
    await DeleteRuntime(world.store, world.clock)(RuntimeId("old"))
    assert await place_all() == 1
    assert (await world.runtime("young")).node == N1


LIMITS = st.builds(
    lambda most, memory: LocalLimits(max_runtimes=most, memory_bytes=memory),
    st.sampled_from([None, 0, 1, 2]),
    st.sampled_from([None, SIZE, 3 * SIZE]),
)
NODES = st.lists(LIMITS, max_size=4).map(
    lambda many: [
        seen(a_node(f"n{number}", inventory=replace(an_inventory(), limits=limits)))
        for number, limits in enumerate(many)
    ]
)
ASKED = st.lists(
    st.builds(
        lambda number, node, state: a_runtime(f"r{number}", node, desired_state=state),
        st.integers(0, 9),
        st.sampled_from([None, "n0", "n1"]),
        st.sampled_from(DesiredState),
    ),
    unique_by=lambda runtime: runtime.id,
)


def after(asked: list[Runtime], found: list[Assignment]) -> list[Runtime]:
    places = {each.runtime: each for each in found}
    return [replace(r, node=places[r.id].node, placement_problem=places[r.id].problem) for r in asked]


@given(ASKED, NODES)
def test_nothing_new_goes_where_the_owner_has_no_room_and_a_second_look_changes_nothing(
    asked: list[Runtime], nodes: list[NodeView]
) -> None:
    views = {view.node.id: view for view in nodes}
    found = place(asked, MODELS, views)
    assert place(after(asked, found), MODELS, views) == found
    new = {each.id for each in asked if each.node not in views}
    for view in nodes:
        here = {each.runtime for each in found if each.node == view.node.id}
        running = [each for each in asked if each.id in here and each.desired_state is DesiredState.RUNNING]
        most = view.node.inventory.limits.max_runtimes
        if most is not None and any(each.id in new for each in running):
            assert len(running) <= most


@given(ASKED, NODES)
def test_those_that_changed_find_what_the_others_left(asked: list[Runtime], nodes: list[NodeView]) -> None:
    views = {view.node.id: view for view in nodes}
    settled = after(asked, place(asked, MODELS, views))
    changed, beside = [a_runtime("new"), *settled[:2]], settled[2:]
    load = Counter(each.node for each in beside if each.node)
    alone = place(changed, MODELS, views, load, lambda node: [each for each in beside if each.node == node])
    together = {each.runtime: each for each in place([*beside, *changed], MODELS, views)}
    assert alone == [together[each.runtime] for each in alone]
