from __future__ import annotations

from datetime import UTC, datetime

from arw.v1 import instance_pb2
from control_plane.messages.instances import instance_from_proto, instance_to_proto
from control_plane.messages.nodes import inventory_from_proto, inventory_to_proto
from control_plane.messages.sandbox import MAX_LAYERS, layers_from_proto
from node_agent.control_link import convert_facts
from node_agent.domain.inventory import Inventory
from node_agent.domain.sandbox import SandboxLayer
from node_agent.domain.spec import InstanceName
from node_agent.domain.status import InstanceState, InstanceStatus

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LAYERS = (SandboxLayer("landlock-files", in_force=True), SandboxLayer("own-user", in_force=False, reason="no user"))


def told(layers: object) -> list[tuple[str, bool, str]]:
    return [(layer.name, layer.in_force, layer.reason) for layer in layers]  # type: ignore[attr-defined]


def test_the_layers_of_a_node_reach_whoever_asks_the_control_plane() -> None:
    sent = convert_facts.inventory_to_proto(Inventory("linux", "x86_64", "", 2, 1, sandbox=LAYERS))
    shown = inventory_to_proto(inventory_from_proto(sent))
    assert told(shown.sandbox) == told(LAYERS)


def test_the_layers_of_an_instance_reach_whoever_asks_the_control_plane() -> None:
    status = InstanceStatus(InstanceName("nodes/n/instances/r"), InstanceState.READY, sandbox=LAYERS)
    shown = instance_to_proto(instance_from_proto(convert_facts.status_to_proto(status), NOW), NOW)
    assert shown is not None
    assert told(shown.sandbox) == told(LAYERS)


def test_a_node_that_tells_of_endless_layers_is_not_listened_to_for_ever() -> None:
    layer = instance_pb2.SandboxLayer(name="x" * 10_000, reason="y" * 10_000)
    kept = layers_from_proto([layer] * (MAX_LAYERS + 1))
    assert len(kept) == MAX_LAYERS
    assert max(len(kept[0].name), len(kept[0].reason)) <= 400
