from __future__ import annotations

import json
from dataclasses import replace
from math import nan

import pytest

from arw.v1 import accelerator_pb2, node_pb2, problem_pb2
from control_plane.domain.accelerator import Accelerator, AcceleratorKind, DeviceHealth
from control_plane.domain.errors import SessionSuperseded
from control_plane.domain.matrix import Code, MatrixStatus, entry
from control_plane.domain.node import EngineDevice, NodeInventory
from control_plane.domain.placing.objections import objections
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import MissingAccelerator
from control_plane.messages.nodes import inventory_from_proto, inventory_to_proto
from control_plane.messages.usage import node_usage_from_proto, node_usage_to_proto
from control_plane.store import codec
from control_plane.use_cases.rows import node_of
from control_plane.use_cases.update_inventory import UpdateInventory
from tests.fakes.clock import NOON
from tests.fakes.control_plane import ENGINE, World, a_model, a_node, a_runtime, a_spec, an_inventory, seen
from tests.fakes.device_usage import USAGE

LOST = Problem("ACCELERATOR_LOST", "The GPU fell off the bus.", "Restart the machine.")
NO_DRIVER = Problem("ACCELERATOR_DRIVER_MISSING", "No driver is loaded.", "Install the NVIDIA driver.")
GPU = Accelerator(
    "GPU-1",
    AcceleratorKind.GPU_CUDA,
    "NVIDIA H200",
    141 << 30,
    "580.95.05",
    vendor="NVIDIA",
    pci_address="0000:18:00.0",
    health=DeviceHealth.OK,
    source="nvml",
    details={"compute_capability": "9.0"},
)
BROKEN = replace(GPU, health=DeviceHealth.UNUSABLE, problem=LOST)
GPU_ONLY = a_spec(accelerator=AcceleratorKind.GPU_CUDA, on_missing_accelerator=MissingAccelerator.FAIL)


def having(*devices: Accelerator) -> NodeInventory:
    return replace(an_inventory(), accelerators=devices)


def status_with(*devices: Accelerator) -> MatrixStatus:
    return entry(seen(a_node(inventory=having(*devices))), (), None, NOON).status


@pytest.mark.parametrize("device", [GPU, BROKEN, Accelerator("cpu", AcceleratorKind.CPU)])
def test_a_device_survives_the_wire_and_the_store(device: Accelerator) -> None:
    inventory = having(device)
    assert inventory_from_proto(inventory_to_proto(inventory)) == inventory
    node = a_node(inventory=inventory)
    assert codec.NODE.decode(codec.NODE.encode(node)) == node


def test_a_device_travels_to_people_with_its_labels() -> None:
    (message,) = inventory_to_proto(having(BROKEN)).accelerators
    assert (message.kind_label, message.health_slug, message.health_label) == ("GPU (CUDA)", "unusable", "Unusable")
    assert message.problem.reason == problem_pb2.REASON_ACCELERATOR_LOST


def test_a_health_that_a_newer_agent_speaks_of_is_no_promise() -> None:
    message = accelerator_pb2.Accelerator(id="GPU-1", health=99)  # type: ignore[arg-type]
    (device,) = inventory_from_proto(node_pb2.NodeInventory(accelerators=[message])).accelerators
    assert not device.usable
    document = json.loads(codec.NODE.encode(a_node(inventory=having(GPU))))
    document["inventory"]["accelerators"][0]["health"] = "tired"
    (device,) = codec.NODE.decode(json.dumps(document)).inventory.accelerators
    assert not device.usable


def test_what_a_node_says_of_a_device_is_bounded() -> None:
    message = accelerator_pb2.Accelerator(id="x" * 1000, details={f"k{number:03}": "v" * 1000 for number in range(200)})
    (device,) = inventory_from_proto(node_pb2.NodeInventory(accelerators=[message])).accelerators
    assert (len(device.id), len(device.details), len(device.details["k000"])) == (400, 64, 400)


def test_usage_survives_the_wire_and_unknown_is_not_zero() -> None:
    usage = node_usage_from_proto(USAGE, NOON)
    cpu, gpu = usage.accelerators
    assert (gpu.memory_used_bytes, gpu.utilization_percent) == (0, 0.0)
    assert (cpu.memory_total_bytes, cpu.temperature_celsius, cpu.last_xid) == (None, None, None)
    assert gpu.processes[0].memory_bytes is None
    told = node_usage_to_proto(usage)
    assert told is not None
    assert told.update_time.ToDatetime(NOON.tzinfo) == NOON
    told.ClearField("update_time")
    assert told == USAGE


def test_usage_from_outside_is_finite_and_bounded() -> None:
    device = accelerator_pb2.AcceleratorUsage(
        id="GPU-1", utilization_percent=nan, figures={f"f{number}": nan if number == 0 else 1.0 for number in range(64)}
    )
    many = accelerator_pb2.NodeUsage(accelerators=[device] * 300, battery_percent=float("inf"))
    usage = node_usage_from_proto(many, NOON)
    assert (len(usage.accelerators), usage.battery_percent) == (256, None)
    assert (usage.accelerators[0].utilization_percent, len(usage.accelerators[0].figures)) == (None, 63)


def test_a_device_that_no_engine_of_the_node_can_use_gets_no_runtime() -> None:
    runtime, model = a_runtime(spec=GPU_ONLY), a_model()
    vulkan = EngineDevice("Vulkan0", AcceleratorKind.GPU_VULKAN)
    blind = replace(having(GPU), engines=(replace(ENGINE, devices=(vulkan,)),))
    (problem,) = objections(runtime, model, seen(a_node(inventory=blind)))
    assert problem.reason == "ACCELERATOR_MISSING"
    assert problem.text == "Node n1 has a GPU (CUDA), and no llama.cpp engine that it trusts can use it."
    assert "arw-node-agent trust llama.cpp PATH" in problem.remedy
    one_sees = replace(blind, engines=(*blind.engines, replace(ENGINE, devices=None)))
    assert list(objections(runtime, model, seen(a_node(inventory=one_sees)))) == []


def test_a_device_that_cannot_be_used_gets_no_runtime_and_its_problem_says_why() -> None:
    runtime, model = a_runtime(spec=GPU_ONLY), a_model()
    assert list(objections(runtime, model, seen(a_node(inventory=having(GPU))))) == []
    (problem,) = objections(runtime, model, seen(a_node(inventory=having(BROKEN))))
    assert problem.reason == "ACCELERATOR_MISSING"
    assert problem.text == "Node n1 has no GPU (CUDA) that works: The GPU fell off the bus."
    assert problem.remedy == "Restart the machine."


def test_a_device_that_fails_degrades_its_node_in_the_matrix() -> None:
    said = status_with(GPU, BROKEN)
    assert (said.code, said.label) == (Code.DEGRADED, "Degraded - NVIDIA H200: The GPU fell off the bus.")


def test_a_device_that_never_had_a_driver_gets_a_line_and_degrades_nothing() -> None:
    said = status_with(replace(BROKEN, problem=NO_DRIVER))
    assert (said.code, said.detail) == (Code.OK, ("NVIDIA H200: No driver is loaded.",))


def test_the_matrix_says_that_a_device_is_simulated() -> None:
    said = status_with(replace(GPU, display_name="SIMULATED GPU", simulated=True))
    assert said.code is Code.OK
    assert said.detail == ("SIMULATED GPU: a simulated accelerator, nothing computes on it",)


async def test_a_changed_inventory_is_stored_and_told_once(world: World) -> None:
    await world.has(a_node(session_epoch=3))
    update = UpdateInventory(world.store, world.fleet, world.clock)
    for _ in range(2):
        await update(a_node().id, 3, having(BROKEN))
    (event,) = await world.events("cluster.node.advertise")
    (device,) = event.payload["accelerators"]
    assert (device["health"], device["problem"]["reason"]) == ("unusable", "ACCELERATOR_LOST")
    stored = await world.store.read(lambda tx: node_of(tx, a_node().id))
    assert stored.inventory == having(BROKEN)


async def test_an_older_session_changes_no_inventory(world: World) -> None:
    await world.has(a_node(session_epoch=3))
    with pytest.raises(SessionSuperseded):
        await UpdateInventory(world.store, world.fleet, world.clock)(a_node().id, 2, having(GPU))
