from __future__ import annotations

from dataclasses import replace

import pytest

from control_plane.data_path.routes import RouteTable
from control_plane.domain.ids import ModelId, NodeId, RuntimeId
from control_plane.domain.instance import Instance, InstanceState
from control_plane.domain.runtime import Runtime
from gateway.refusals import ModelNotFound, NotServing
from tests.fakes.fleet import FakeFleet
from tests.fakes.store_rows import a_runtime


def declared(name: str, node: str = "box", **spec: object) -> Runtime:
    runtime = a_runtime(name)
    return replace(runtime, node=NodeId(node), fence=7, spec=replace(runtime.spec, **spec))  # type: ignore[arg-type]


def fleet(*serving: str) -> FakeFleet:
    made = FakeFleet()
    made.connect("box")
    for name in serving:
        made.record(Instance(NodeId("box"), RuntimeId(name), InstanceState.READY))
    return made


def test_a_route_carries_the_instance_and_the_hold_under_which_it_may_pass() -> None:
    table = RouteTable(fleet("a/b"))
    table.replace([declared("a/b")])
    route = table.resolve("a/b")
    assert (route.instance, route.node, route.claim, route.fence) == ("nodes/box/instances/a__b", "box", "system", 7)


def test_an_id_wins_over_a_display_name_and_that_over_a_model() -> None:
    table = RouteTable(fleet("one", "two", "three"))
    table.replace([declared("one", display_name="two"), declared("two", model=ModelId("three")), declared("three")])
    assert table.resolve("two").model_alias == "two"
    assert table.resolve("three").model_alias == "three"


def test_runtimes_of_one_model_take_turns_and_those_that_do_not_serve_are_passed_over() -> None:
    table = RouteTable(fleet("one", "two"))
    table.replace([declared("one"), declared("two"), declared("three")])
    assert {table.resolve("tiny").model_alias for _ in range(6)} == {"one", "two"}
    assert [model.id for model in table.models()] == ["one", "two"]


def test_a_runtime_on_an_offline_node_does_not_serve() -> None:
    known = fleet("one")
    table = RouteTable(known)
    table.replace([declared("one")])
    known.disconnect("box")
    with pytest.raises(NotServing, match="unknown") as raised:
        table.resolve("one")
    assert raised.value.retry_after == 10
    assert table.models() == []


def test_a_name_that_is_gone_is_unknown() -> None:
    table = RouteTable(fleet("one"))
    table.replace([declared("one")])
    table.replace([])
    with pytest.raises(ModelNotFound, match="No runtime is declared yet"):
        table.resolve("one")
