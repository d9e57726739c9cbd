"""A node whose owner would refuse a runtime is not chosen for it, and says why."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from arw.v1 import node_pb2
from control_plane.domain.admission import Presented
from control_plane.domain.execution import ExecutionMode, ExecutionSettings
from control_plane.domain.ids import NodeId
from control_plane.domain.instance import Severity
from control_plane.domain.node import LocalLimits
from control_plane.domain.node_view import NodeView
from control_plane.domain.placing.placement import place
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import ExternalSettings, RuntimeSpec
from control_plane.messages.nodes import inventory_from_proto, inventory_to_proto, node_to_proto
from control_plane.use_cases.admit_session import AdmitSession, Greeting
from control_plane.use_cases.update_inventory import UpdateInventory
from tests.fakes.control_plane import SIZE, TINY, World, a_model, a_node, a_runtime, a_spec, an_inventory, seen

NOW = datetime(2026, 11, 20, tzinfo=UTC)
CLOSED = Problem("LOCAL_POLICY_DENIED", "It is outside the hours of this node.", metadata={"rule": "hours"})
FULL = Problem("DISK_PRESSURE", "The disk with /state is nearly full.", "Make room there.")
BROKEN = Problem("LOCAL_POLICY_DENIED", "The limits cannot be read.", metadata={"rule": "file"})
NATIVE = ExecutionMode.NATIVE
LIMITS = LocalLimits("/etc/n.toml", ("llama.cpp",), ("native",), 2, 10, 20, CLOSED)


def node(**limits: object) -> NodeView:
    told = LocalLimits(file="/etc/n.toml", **limits)  # type: ignore[arg-type]
    return seen(a_node("n1", inventory=replace(an_inventory(), limits=told)))


@pytest.mark.parametrize(
    ("limits", "rule"),
    [
        ({"denied_adapters": ("llama.cpp",)}, "adapters"),
        ({"memory_per_runtime_bytes": SIZE}, "memory.per_runtime"),
        ({"closed": CLOSED}, "hours"),
    ],
)
def test_placement_leaves_out_a_node_whose_owner_would_refuse(limits: dict[str, object], rule: str) -> None:
    view, other = node(**limits), seen(a_node("n2"))
    assignment = place([a_runtime()], {TINY: a_model()}, {view.node.id: view})[0]
    assert assignment.problem is not None
    assert (assignment.problem.reason, assignment.problem.metadata["rule"]) == ("LOCAL_POLICY_DENIED", rule)
    assert place([a_runtime()], {TINY: a_model()}, {v.node.id: v for v in (view, other)})[0].node == other.node.id


def test_an_owner_who_forbids_every_mode_of_a_runtime_keeps_it_away() -> None:
    view, runtime = node(modes=("container",)), a_runtime(spec=a_spec(execution=ExecutionSettings((NATIVE,))))
    problem = place([runtime], {TINY: a_model()}, {view.node.id: view})[0].problem
    assert problem is not None
    assert (problem.reason, problem.metadata["rule"]) == ("LOCAL_POLICY_DENIED", "modes")
    assert problem.text == "The owner of node n1 does not let engines run natively there."


def test_an_owner_who_is_against_nothing_keeps_nothing_away() -> None:
    view = node(modes=("native",), memory_per_runtime_bytes=SIZE * 2, denied_adapters=("vllm",))
    assert place([a_runtime()], {TINY: a_model()}, {view.node.id: view})[0].node == view.node.id


def test_what_runs_already_needs_no_mode() -> None:
    view = node(modes=("container",))
    spec = RuntimeSpec("external", external=ExternalSettings("http://127.0.0.1:1"))
    assert place([a_runtime(spec=spec)], {}, {view.node.id: view})[0].node == view.node.id


def test_a_node_shows_why_it_takes_nothing_new() -> None:
    closed, broken = node(closed=CLOSED), node(closed=BROKEN)
    assert closed.summary == CLOSED.text
    assert (closed.severity(NOW), broken.severity(NOW)) == (Severity.INFO, Severity.WARN)
    assert [problem.text for problem in node_to_proto(broken, NOW).problems] == [BROKEN.text]


async def test_a_node_that_closes_and_opens_again_has_an_event_for_each() -> None:
    world = World()
    await world.has(a_node("n1"))
    world.fleet.connect("n1")
    update = UpdateInventory(world.store, world.fleet, world.clock)
    for cores, closed in ((1, FULL), (2, FULL), (2, None)):
        told = replace(an_inventory(), limits=LocalLimits(closed=closed), cpu_cores=cores)
        await update(NodeId("n1"), 1, told)
    events = [event.payload for event in await world.events("cluster.node.changed")]
    assert [(event["cause"], event["reason"]) for event in events] == [("closed", "DISK_PRESSURE"), ("open again", "")]
    assert [event["severity"] for event in events] == ["warn", "info"]


async def test_a_node_that_comes_back_closed_has_an_event_too() -> None:
    world = World()
    await world.has(a_node("n1", session_epoch=0, certificate_serial="aa"))
    greeting = Greeting("i", "b", "m", "1", 1, replace(an_inventory(), limits=LocalLimits(closed=FULL)))
    presented = Presented(NodeId("n1"), "aa", NOW + timedelta(days=1000))
    for _ in range(2):
        await AdmitSession(world.store, world.clock)(presented, greeting)
    (event,) = await world.events("cluster.node.changed")
    assert (event.payload["cause"], event.payload["text"]) == ("closed", FULL.text)


def test_limits_travel_whole_and_an_agent_that_tells_none_has_none() -> None:
    inventory = replace(an_inventory(), limits=LIMITS)
    assert inventory_from_proto(inventory_to_proto(inventory)) == inventory
    assert inventory_from_proto(node_pb2.NodeInventory()).limits == LocalLimits()
