"""A node whose owner would refuse a runtime is not chosen for it, and says why."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from arw.v1 import node_pb2
from control_plane.domain.instance import Severity
from control_plane.domain.node import LocalLimits
from control_plane.domain.node_view import NodeView
from control_plane.domain.placement import place
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import ExternalSettings, RuntimeSpec
from control_plane.messages.nodes import inventory_from_proto, inventory_to_proto, node_to_proto
from tests.fakes.control_plane import SIZE, TINY, a_model, a_node, a_runtime, an_inventory, seen

NOW = datetime(2026, 11, 20, tzinfo=UTC)
CLOSED = Problem("LOCAL_POLICY_DENIED", "It is outside the hours of this node.", metadata={"rule": "hours"})
BROKEN = Problem("LOCAL_POLICY_DENIED", "The limits cannot be read.", metadata={"rule": "file"})
LIMITS = LocalLimits("/etc/n.toml", ("llama.cpp",), ("native",), 2, 10, 20, CLOSED)


def node(**limits: object) -> NodeView:
    told = LocalLimits(file="/etc/n.toml", **limits)  # type: ignore[arg-type]
    return seen(a_node("n1", inventory=replace(an_inventory(), limits=told)))


@pytest.mark.parametrize(
    ("limits", "rule"),
    [
        ({"denied_adapters": ("llama.cpp",)}, "adapters"),
        ({"modes": ("container",)}, "modes"),
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


def test_limits_travel_whole_and_an_agent_that_tells_none_has_none() -> None:
    inventory = replace(an_inventory(), limits=LIMITS)
    assert inventory_from_proto(inventory_to_proto(inventory)) == inventory
    assert inventory_from_proto(node_pb2.NodeInventory()).limits == LocalLimits()
