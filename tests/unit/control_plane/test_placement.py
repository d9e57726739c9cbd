from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.footprint import Footprint, FootprintKey
from control_plane.domain.ids import NodeId
from control_plane.domain.labels import unmatched
from control_plane.domain.model import ModelPart
from control_plane.domain.node import Drain, LocalLimits, Node, Standing
from control_plane.domain.node_view import NodeView
from control_plane.domain.placing.house import ENOUGH, Assignment
from control_plane.domain.placing.placement import place, verdicts
from control_plane.domain.placing.situation import UNTIMED, MassSilence, Situation
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import (
    Departure,
    ExternalSettings,
    MissingAccelerator,
    PlacementSettings,
    PlacementStrategy,
    Runtime,
    RuntimeSpec,
)
from tests.fakes.clock import NOON
from tests.fakes.control_plane import SIZE, TINY, a_model, a_node, a_runtime, a_spec, an_inventory, seen

MODELS = {TINY: a_model()}
GPU_ONLY = a_spec(accelerator=AcceleratorKind.GPU_CUDA, on_missing_accelerator=MissingAccelerator.FAIL)
GPU_WISH = a_spec(accelerator=AcceleratorKind.GPU_CUDA)
MOVING = a_spec(placement=PlacementSettings(move_after=timedelta(minutes=1)))
PACKED = a_spec(placement=PlacementSettings(PlacementStrategy.BINPACK))


def by_id(nodes: Iterable[NodeView]) -> dict[NodeId, NodeView]:
    return {view.node.id: view for view in nodes}


def placed_on(runtime: Runtime, *nodes: NodeView) -> Assignment:
    return place([runtime], MODELS, by_id(nodes))[0]


def refused(runtime: Runtime, node: NodeView) -> Problem:
    problem = placed_on(runtime, node).problem
    assert problem is not None
    return problem


def test_a_runtime_goes_to_the_node_that_can_run_it() -> None:
    assert placed_on(a_runtime(), seen(a_node("n1"))) == Assignment(a_runtime().id, NodeId("n1"))


def test_without_a_node_the_reason_says_how_to_join_one() -> None:
    problem = placed_on(a_runtime()).problem
    assert problem
    assert problem.reason == "NO_NODE"
    assert "arwctl up" in problem.remedy


def test_what_runs_already_needs_neither_engine_nor_model() -> None:
    bare = seen(a_node("n1", inventory=an_inventory(engines=())))
    spec = RuntimeSpec("external", external=ExternalSettings("http://127.0.0.1:1"))
    assert placed_on(a_runtime(spec=spec), bare).node == NodeId("n1")


def test_a_projector_counts_as_memory_too() -> None:
    runtime, tight = a_runtime(), seen(a_node(inventory=replace(an_inventory(), memory_bytes=SIZE * 2)))
    assert placed_on(runtime, tight).node
    seeing = replace(a_model(), projector=ModelPart("/p.gguf", "ab" * 32, SIZE))
    assert place([runtime], {TINY: seeing}, by_id([tight]))[0].problem is not None


@pytest.mark.parametrize(
    ("runtime", "node", "reason"),
    [
        (a_runtime(), seen(a_node(), online=False), "NODE_OFFLINE"),
        (a_runtime(), seen(a_node(session_epoch=0), online=False), "NODE_OFFLINE"),
        (a_runtime(), seen(a_node(standing=Standing.WAITING_FOR_APPROVAL)), "UNSCHEDULABLE"),
        (a_runtime(), seen(a_node(standing=Standing.QUARANTINED)), "UNSCHEDULABLE"),
        (a_runtime(), seen(a_node(schedulable=False)), "UNSCHEDULABLE"),
        (a_runtime(spec=a_spec(node_selector={"site": "b"})), seen(a_node(labels={"site": "a"})), "LABELS_UNMATCHED"),
        (a_runtime(), seen(a_node(inventory=an_inventory(engines=()))), "ENGINE_NOT_FOUND"),
        (a_runtime(spec=GPU_ONLY), seen(a_node()), "ACCELERATOR_MISSING"),
        (
            a_runtime(),
            seen(a_node(inventory=replace(an_inventory(), memory_bytes=SIZE))),
            "MEMORY_INSUFFICIENT",
        ),
    ],
)
def test_each_reason_against_a_node_has_words_and_a_remedy(runtime: Runtime, node: NodeView, reason: str) -> None:
    problem = refused(runtime, node)
    assert problem.reason == reason
    assert problem.text
    assert problem.remedy


def test_an_unregistered_model_is_a_reason() -> None:
    found = place([a_runtime()], {}, by_id([seen(a_node())]))[0]
    assert found.problem
    assert found.problem.reason == "NOT_FOUND"


def test_memory_that_a_node_does_not_know_is_no_reason() -> None:
    node = seen(a_node(inventory=replace(an_inventory(), memory_bytes=0)))
    assert placed_on(a_runtime(), node).node == "n1"


def test_a_wished_accelerator_is_preferred_and_its_lack_is_no_reason() -> None:
    plain, fast = seen(a_node("a")), seen(a_node("b", inventory=an_inventory(AcceleratorKind.GPU_CUDA)))
    assert placed_on(a_runtime(spec=GPU_WISH), plain, fast).node == "b"
    assert placed_on(a_runtime(spec=GPU_WISH), plain).node == "a"


def test_runtimes_spread_over_nodes_that_have_fewer() -> None:
    nodes = [seen(a_node(name)) for name in ("n1", "n2", "n3")]
    found = place([a_runtime(f"r{number}") for number in range(6)], MODELS, by_id(nodes))
    assert Counter(a.node for a in found) == {"n1": 2, "n2": 2, "n3": 2}


def test_equal_nodes_are_told_apart_by_id() -> None:
    assert placed_on(a_runtime(), seen(a_node("b")), seen(a_node("a"))).node == "a"


@pytest.mark.parametrize(
    "node",
    [
        seen(a_node("n1"), online=False),
        seen(a_node("n1", schedulable=False)),
        seen(a_node("n1", standing=Standing.QUARANTINED)),
        seen(a_node("n1", inventory=an_inventory(engines=()))),
    ],
)
def test_a_placed_runtime_stays_whatever_its_node_does(node: NodeView) -> None:
    assert placed_on(a_runtime(node="n1"), node, seen(a_node("n2"))).node == "n1"


@pytest.mark.parametrize(
    "node",
    [
        seen(a_node("n1", standing=Standing.REVOKED)),
        seen(a_node("n1", standing=Standing.WAITING_FOR_APPROVAL)),
    ],
)
def test_a_runtime_leaves_a_node_that_is_no_longer_admitted(node: NodeView) -> None:
    assert placed_on(a_runtime(node="n1"), node, seen(a_node("n2"))).node == "n2"


def test_a_runtime_leaves_a_node_that_does_not_exist() -> None:
    assert placed_on(a_runtime(node="gone"), seen(a_node("n2"))).node == "n2"


def test_a_changed_selector_moves_a_runtime() -> None:
    runtime = a_runtime(node="n1", spec=a_spec(node_selector={"site": "b"}))
    assert placed_on(runtime, seen(a_node("n1")), seen(a_node("n2", labels={"site": "b"}))).node == "n2"


def test_a_selector_that_no_node_has_is_the_reason_however_many_there_are() -> None:
    nodes = [seen(a_node(f"n{number}", labels={"site": "a"})) for number in range(3)]
    problem = placed_on(a_runtime(spec=a_spec(node_selector={"site": "b"})), *nodes).problem
    assert problem
    assert (problem.reason, problem.text) == ("LABELS_UNMATCHED", "No node has the labels site=b.")


def test_only_nodes_with_the_right_labels_are_spoken_of() -> None:
    far, near = seen(a_node("far")), seen(a_node("near", labels={"site": "b"}), online=False)
    problem = placed_on(a_runtime(spec=a_spec(node_selector={"site": "b"})), far, near).problem
    assert problem
    assert (problem.reason, problem.text) == ("NODE_OFFLINE", "Node near is offline.")


def test_reasons_of_many_nodes_are_told_together() -> None:
    nodes = [seen(a_node("n1"), online=False), seen(a_node("n2", schedulable=False))]
    problem = placed_on(a_runtime(), *nodes).problem
    assert problem
    assert problem.reason == "NO_NODE"
    assert "n1 is offline" in problem.text
    assert "n2 takes nothing new" in problem.text


def test_a_reason_that_all_nodes_share_is_the_reason() -> None:
    problem = placed_on(a_runtime(), *(seen(a_node(f"n{i}"), online=False) for i in range(12))).problem
    assert problem
    assert problem.reason == "NODE_OFFLINE"
    assert "4 more" in problem.text


def test_revoked_nodes_are_not_spoken_of() -> None:
    revoked = seen(a_node("n1", standing=Standing.REVOKED))
    assert placed_on(a_runtime(), revoked).problem == placed_on(a_runtime()).problem
    assert verdicts(a_runtime(), a_model(), [revoked], {}) == []


def test_verdicts_name_the_chosen_node_and_every_reason() -> None:
    nodes = [seen(a_node("n1")), seen(a_node("n2", schedulable=False, labels={}), online=False)]
    first, second = verdicts(a_runtime(node="n1"), a_model(), nodes, {NodeId("n1"): 2})
    assert first.chosen
    assert first.score == 998
    assert first.score_reasons == ("-2 2 other runtimes placed here", "+1000 already here")
    assert [problem.reason for problem in second.problems] == ["NODE_OFFLINE", "UNSCHEDULABLE"]
    assert not second.chosen


def test_verdicts_of_an_unplaced_runtime_choose_the_best_node() -> None:
    judged = verdicts(a_runtime(), a_model(), [seen(a_node("n1")), seen(a_node("n2"))], {NodeId("n1"): 1})
    assert [verdict.chosen for verdict in judged] == [False, True]


NAMES = [f"n{number}" for number in range(5)]
SITES = st.sampled_from([{}, {"site": "a"}, {"site": "b"}])
LEARNT = {
    FootprintKey(a_model().sha256, "", "", AcceleratorKind.CPU): {
        NodeId(name): Footprint(FootprintKey("", "", "", AcceleratorKind.CPU), SIZE) for name in ("n2", "n3")
    }
}


def a_view(strain: int, online: bool, node: Node) -> NodeView:
    return replace(seen(node, online=online), strain=strain, footprints=LEARNT)


DRAINS = st.sampled_from([None, None, None, Drain(NOON), Drain(NOON, NOON), Drain(NOON, NOON + timedelta(hours=1))])
NODES = st.lists(
    st.builds(
        lambda name, standing, online, schedulable, labels, equipped, drain, strain: a_view(
            strain,
            online,
            a_node(
                name,
                standing=standing,
                schedulable=schedulable,
                labels=labels,
                drain=drain,
                inventory=an_inventory(AcceleratorKind.GPU_CUDA) if equipped else an_inventory(engines=()),
            ),
        ),
        st.sampled_from(NAMES),
        st.sampled_from(Standing),
        st.booleans(),
        st.booleans(),
        SITES,
        st.booleans(),
        DRAINS,
        st.integers(0, 5),
    ),
    unique_by=lambda view: view.node.id,
)
RUNTIMES = st.lists(
    st.builds(
        lambda number, node, selector, spec, departure: a_runtime(
            f"r{number}", node, replace(spec, node_selector=selector), departure=departure
        ),
        st.integers(0, 9),
        st.sampled_from([None, "missing", *NAMES]),
        SITES,
        st.sampled_from([a_spec(), GPU_ONLY, GPU_WISH, PACKED, MOVING]),
        st.sampled_from([None, None, Departure(NodeId("n1"), NOON), Departure(NodeId("n3"), NOON)]),
    ),
    unique_by=lambda runtime: runtime.id,
)


SITUATIONS = st.sampled_from(
    [
        UNTIMED,
        Situation(NOON + timedelta(minutes=30)),
        Situation(NOON + timedelta(minutes=30), silence=MassSilence((), 0)),
    ]
)


def after(runtimes: list[Runtime], found: list[Assignment]) -> list[Runtime]:
    places = {assignment.runtime: assignment for assignment in found}
    return [
        replace(r, node=places[r.id].node, placement_problem=places[r.id].problem, stuck=places[r.id].stuck)
        for r in runtimes
    ]


@given(RUNTIMES, NODES, SITUATIONS)
def test_a_second_placement_changes_nothing(
    runtimes: list[Runtime], nodes: list[NodeView], situation: Situation
) -> None:
    found = place(runtimes, MODELS, by_id(nodes), situation=situation)
    assert place(after(runtimes, found), MODELS, by_id(nodes), situation=situation) == found


@given(RUNTIMES, NODES)
def test_a_node_that_joins_moves_nothing_that_runs(runtimes: list[Runtime], nodes: list[NodeView]) -> None:
    settled = after(runtimes, place(runtimes, MODELS, by_id(nodes)))
    joined = by_id([*nodes, seen(a_node("n9", labels={"site": "a"}))])
    for runtime, found in zip(sorted(settled, key=lambda r: r.id), place(settled, MODELS, joined), strict=True):
        if runtime.node is not None and runtime.stuck is None:
            assert found.node == runtime.node


@given(RUNTIMES, NODES)
def test_nothing_that_is_placed_moves_while_its_node_is_admitted(
    runtimes: list[Runtime], nodes: list[NodeView]
) -> None:
    admitted = (view.node for view in nodes if view.node.standing is Standing.ADMITTED)
    known = {node.id: node for node in admitted if node.drain is None}
    found = {assignment.runtime: assignment.node for assignment in place(runtimes, MODELS, by_id(nodes))}
    for runtime in runtimes:
        node = known.get(runtime.node) if runtime.node else None
        if node and not unmatched(runtime.spec.node_selector, node.labels):
            assert found[runtime.id] == runtime.node


@given(RUNTIMES, NODES, SITUATIONS, st.randoms())
def test_the_order_of_what_is_asked_does_not_matter(
    runtimes: list[Runtime], nodes: list[NodeView], situation: Situation, random: Random
) -> None:
    expected = place(runtimes, MODELS, by_id(nodes), situation=situation)
    shuffled, others = list(runtimes), list(nodes)
    random.shuffle(shuffled)
    random.shuffle(others)
    assert place(shuffled, MODELS, by_id(others), situation=situation) == expected


@given(RUNTIMES, NODES)
def test_whoever_has_no_place_has_a_reason_with_a_remedy(runtimes: list[Runtime], nodes: list[NodeView]) -> None:
    for assignment in place(runtimes, MODELS, by_id(nodes)):
        assert (assignment.node is None) == (assignment.problem is not None)
        assert assignment.problem is None or (assignment.problem.text and assignment.problem.remedy)


@given(RUNTIMES, NODES, SITUATIONS)
def test_nothing_new_goes_where_it_cannot_run(
    runtimes: list[Runtime], nodes: list[NodeView], situation: Situation
) -> None:
    views = by_id(nodes)
    found = place(runtimes, MODELS, views, situation=situation)
    for runtime, assignment in zip(sorted(runtimes, key=lambda r: r.id), found, strict=True):
        if assignment.node and assignment.node != runtime.node:
            view = views[assignment.node]
            assert view.liveness.online
            assert view.node.schedulable
            assert view.node.drain is None
            assert view.node.standing is Standing.ADMITTED
            assert not unmatched(runtime.spec.node_selector, view.node.labels)


@given(RUNTIMES, NODES)
def test_a_node_that_is_drained_keeps_only_what_fits_nowhere_else_before_its_deadline(
    runtimes: list[Runtime], nodes: list[NodeView]
) -> None:
    views = by_id(nodes)
    for assignment in place(runtimes, MODELS, views, situation=Situation(NOON)):
        drain = views[assignment.node].node.drain if assignment.node else None
        assert (drain is not None) == (assignment.stuck is not None)
        assert drain is None or not drain.is_over(NOON)


@given(RUNTIMES, NODES)
def test_those_that_changed_are_placed_alone_as_they_would_be_with_all(
    runtimes: list[Runtime], nodes: list[NodeView]
) -> None:
    settled = after(runtimes, place(runtimes, MODELS, by_id(nodes)))
    changed = [a_runtime("new", spec=GPU_WISH), *settled[:2]]
    load = Counter(runtime.node for runtime in settled[2:] if runtime.node)
    alone = {assignment.runtime: assignment for assignment in place(changed, MODELS, by_id(nodes), load)}
    together = {a.runtime: a for a in place([*settled[2:], *changed], MODELS, by_id(nodes))}
    assert alone == {name: together[name] for name in alone}


@given(RUNTIMES, NODES, st.sampled_from([GPU_WISH, PACKED, a_spec()]))
def test_an_explanation_chooses_what_placement_chooses(
    runtimes: list[Runtime], nodes: list[NodeView], spec: RuntimeSpec
) -> None:
    new = a_runtime("new", spec=spec)
    settled = after(runtimes, place(runtimes, MODELS, by_id(nodes)))
    load = Counter(runtime.node for runtime in settled if runtime.node)
    chosen = [verdict.node for verdict in verdicts(new, a_model(), nodes, load) if verdict.chosen]
    found = next(a for a in place([*settled, new], MODELS, by_id(nodes)) if a.runtime == "new")
    assert chosen == [found.node] * (found.node is not None)


def test_a_great_fleet_is_placed_in_a_moment() -> None:
    nodes = [seen(a_node(f"n{number:05}")) for number in range(3000)]
    found = place([a_runtime(f"r{number:05}") for number in range(6000)], MODELS, by_id(nodes))
    assert set(Counter(assignment.node for assignment in found).values()) == {2}


MANY = 2 * ENOUGH
CROWD = by_id(seen(a_node(f"n{number:04}")) for number in range(MANY))


def test_among_very_many_nodes_a_runtime_goes_to_one_that_fits_whatever_their_order() -> None:
    found = place([a_runtime()], MODELS, CROWD)
    assert found == place([a_runtime()], MODELS, dict(reversed(CROWD.items())))
    assert found[0].node in CROWD


def test_among_very_many_nodes_the_few_that_fit_are_found() -> None:
    unfit = {name: replace(view, node=replace(view.node, drain=Drain(NOON))) for name, view in CROWD.items()}
    for number in (0, MANY // 2, MANY - 1):
        only = NodeId(f"n{number:04}")
        assert place([a_runtime()], MODELS, {**unfit, only: CROWD[only]})[0].node == only


def test_many_runtimes_are_spread_over_very_many_nodes() -> None:
    runtimes = [a_runtime(f"r{number}") for number in range(MANY)]
    found = Counter(assignment.node for assignment in place(runtimes, MODELS, CROWD))
    assert set(found.values()) == {1}


def test_among_very_many_nodes_one_that_knows_the_model_is_preferred() -> None:
    knows = NodeId(f"n{MANY - 1:04}")
    key = FootprintKey(a_model().sha256, "", "", AcceleratorKind.CPU)
    crowd = {name: replace(view, footprints={key: {knows: Footprint(key, SIZE)}}) for name, view in CROWD.items()}
    assert place([a_runtime()], MODELS, crowd)[0].node == knows


def test_when_none_of_the_compared_nodes_has_room_the_others_are_looked_at() -> None:
    everywhere = [a_runtime(f"r{number:04}", node=f"n{number:04}") for number in range(MANY - 1)]
    one = replace(an_inventory(), limits=LocalLimits(max_runtimes=1))
    small = {name: replace(view, node=replace(view.node, inventory=one)) for name, view in CROWD.items()}
    (new,) = [found for found in place([*everywhere, a_runtime("new")], MODELS, small) if found.runtime == "new"]
    assert new.node == NodeId(f"n{MANY - 1:04}")
