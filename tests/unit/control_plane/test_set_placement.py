from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.ids import NodeId
from control_plane.domain.node import Drain, Standing
from control_plane.domain.node_view import NodeView
from control_plane.domain.placing.house import Assignment
from control_plane.domain.placing.placement import place, verdicts
from control_plane.domain.placing.rooms import Rooms
from control_plane.domain.placing.situation import Situation
from control_plane.domain.runtime import PlacementSettings, PlacementStrategy, Runtime
from control_plane.domain.runtime_set import following, replica_ids
from tests.fakes.clock import NOON
from tests.fakes.control_plane import SIZE, TINY, a_model, a_node, a_runtime, a_spec, an_inventory, seen

MODELS = {TINY: a_model()}
LATER = Situation(NOON + timedelta(hours=1))
SPECS: Sequence[Mapping[str, Any]] = (
    {},
    {"placement": PlacementSettings(PlacementStrategy.BINPACK)},
    {"placement": PlacementSettings(move_after=timedelta(minutes=1))},
    {"node_selector": {"site": "a"}},
)


def a_set(name: str = "chat", replicas: int = 3, node: str | None = None, **spec: Any) -> list[Runtime]:
    head = a_runtime(name, node, a_spec(replicas=replicas, **spec))
    return [head, *(following(head, None, replica, NOON, heed=False) for replica in replica_ids(head.id, replicas))]


def views(*nodes: NodeView) -> dict[NodeId, NodeView]:
    return {view.node.id: view for view in nodes}


def some_nodes(number: int) -> dict[NodeId, NodeView]:
    return views(*(seen(a_node(f"n{each}")) for each in range(1, number + 1)))


def where(found: Iterable[Assignment]) -> dict[str, str | None]:
    return {assignment.runtime: assignment.node for assignment in found}


def settled(runtimes: Iterable[Runtime], found: Iterable[Assignment]) -> list[Runtime]:
    to = {assignment.runtime: assignment for assignment in found}
    return [replace(each, node=to[each.id].node, stuck=to[each.id].stuck) for each in runtimes]


def test_each_of_a_set_goes_to_a_node_of_its_own_whatever_is_packed() -> None:
    for spec in SPECS[:2]:
        assert sorted(filter(None, where(place(a_set(**spec), MODELS, some_nodes(3))).values())) == ["n1", "n2", "n3"]


def test_whoever_is_one_too_many_waits_and_is_told_why() -> None:
    *_, last = place(a_set(), MODELS, some_nodes(2))
    assert (last.runtime, last.node) == ("chat.3", None)
    assert last.problem is not None
    assert last.problem.reason == "REPLICA_THERE"
    assert "Node n1 has a replica of chat already" in last.problem.text
    assert "Join another node, or ask for fewer: `arwctl runtime scale chat N`." in last.problem.remedy


def test_lower_numbers_have_their_turn_first() -> None:
    found = where(place(a_set(replicas=11), MODELS, some_nodes(3)))
    assert sorted(name for name, node in found.items() if node) == ["chat", "chat.2", "chat.3"]


def test_a_replica_that_is_not_judged_now_counts_too() -> None:
    head, second, third = a_set()
    there = {NodeId("n1"): [head], NodeId("n2"): [second]}
    (found,) = place([third], MODELS, some_nodes(3), {}, lambda node: there.get(node, ()))
    assert found.node == "n3"


def test_a_full_set_leaves_the_nodes_to_others_that_ask_the_same() -> None:
    found = where(place([*a_set("a", 3), *a_set("b", 2), a_runtime("c")], MODELS, some_nodes(2)))
    assert found["a.3"] is None
    assert None not in (found["b"], found["b.2"], found["c"])


def test_a_drained_node_gives_its_replica_to_none_that_has_one_already() -> None:
    head, second = (
        replace(each, node=NodeId(name)) for each, name in zip(a_set(replicas=2), ("n1", "n2"), strict=True)
    )
    drained = views(seen(a_node("n1", drain=Drain(NOON))), seen(a_node("n2")))
    stays = place([head, second], MODELS, drained, situation=LATER)[0]
    assert stays.node == "n1"
    assert stays.stuck is not None
    assert "Node n2 has a replica of chat already" in stays.stuck.text
    with_room = drained | views(seen(a_node("n3")))
    assert where(place([head, second], MODELS, with_room, situation=LATER)) == {"chat": "n3", "chat.2": "n2"}


def test_an_explanation_says_which_replica_is_there() -> None:
    head, second = a_set(replicas=2, node="n1")
    nodes = some_nodes(2)
    judged = verdicts(second, a_model(), nodes.values(), {}, Rooms(MODELS, lambda node: [head] if node == "n1" else []))
    assert [[problem.reason for problem in verdict.problems] for verdict in judged] == [["REPLICA_THERE"], []]
    assert judged[1].chosen


def test_memory_that_others_took_is_still_told_of_a_set() -> None:
    tight = views(
        *(seen(a_node(name, inventory=replace(an_inventory(), memory_bytes=2 * SIZE))) for name in ("n1", "n2"))
    )
    found = place([a_runtime("a", "n1"), *a_set("b", 2)], MODELS, tight)
    assert [each.node for each in found] == ["n1", "n2", None]


SETS = st.lists(st.tuples(st.integers(1, 4), st.sampled_from(SPECS)), min_size=1, max_size=3)
NODE = st.builds(
    lambda online, schedulable, drained, standing, site: (online, schedulable, drained, standing, site),
    st.booleans(),
    st.sampled_from([True, True, False]),
    st.sampled_from([False, False, True]),
    st.sampled_from([Standing.ADMITTED, Standing.ADMITTED, Standing.REVOKED]),
    st.sampled_from("ab"),
)
NODES = st.lists(NODE, min_size=1, max_size=6).map(
    lambda many: views(
        *(
            seen(
                a_node(
                    f"n{number}",
                    standing=standing,
                    schedulable=schedulable,
                    drain=Drain(NOON) if drained else None,
                    labels={"site": site},
                ),
                online=online,
            )
            for number, (online, schedulable, drained, standing, site) in enumerate(many)
        )
    )
)


def declared(sets: Sequence[tuple[int, Mapping[str, Any]]], more: int = 0) -> list[Runtime]:
    many = enumerate(sets)
    return [runtime for number, (size, spec) in many for runtime in a_set(f"s{number}", size + more, **spec)]


def assert_apart(runtimes: Iterable[Runtime]) -> None:
    taken = [(runtime.replica_of or runtime.id, runtime.node) for runtime in runtimes if runtime.node]
    assert len(set(taken)) == len(taken)


@given(SETS, NODES, NODES, NODES)
def test_no_two_of_a_set_ever_share_a_node(sets: Any, first: Any, second: Any, third: Any) -> None:
    runtimes = declared(sets)
    for nodes in (first, second, third):
        runtimes = settled(runtimes, place(runtimes, MODELS, nodes, situation=LATER))
        assert_apart(runtimes)


@given(SETS, NODES, st.integers(0, 3))
def test_what_has_a_place_stays_when_sets_grow_and_when_they_shrink(sets: Any, nodes: Any, more: int) -> None:
    for before, after in ((0, more), (more, 0)):
        runtimes = declared(sets, before)
        known = settled(runtimes, place(runtimes, MODELS, nodes, situation=LATER))
        there = {each.id: each for each in known}
        grown = [
            replace(each, node=there[each.id].node if each.id in there else None) for each in declared(sets, after)
        ]
        found = where(place(grown, MODELS, nodes, situation=LATER))
        for runtime in grown:
            if runtime.node is not None and there[runtime.id].stuck is None:
                assert found[runtime.id] == runtime.node


@given(SETS, NODES, st.randoms())
def test_the_order_in_which_sets_are_given_does_not_matter(sets: Any, nodes: Any, random: Random) -> None:
    runtimes = declared(sets)
    expected = place(runtimes, MODELS, nodes, situation=LATER)
    random.shuffle(runtimes)
    assert place(runtimes, MODELS, nodes, situation=LATER) == expected
