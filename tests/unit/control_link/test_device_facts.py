from __future__ import annotations

from dataclasses import replace

from arw.v1 import accelerator_pb2, problem_pb2
from node_agent.control_link.convert import agent_to_proto
from node_agent.control_link.convert_facts import inventory_to_proto, usage_to_proto
from node_agent.control_link.messages import AgentEnvelope, Heartbeat, InventoryReport, ObservedReport
from node_agent.domain.inventory import (
    Accelerator,
    AcceleratorUsage,
    DeviceHealth,
    DeviceProcess,
    Engine,
    Inventory,
    NodeUsage,
)
from node_agent.domain.status import Problem
from tests.fakes.agent_bench import INVENTORY, AgentBench, name_of, wanted

USAGE = NodeUsage((AcceleratorUsage("cpu", memory_used_bytes=0, utilization_percent=3.5),), 80.0, on_battery=False)
GPU = Accelerator("GPU-1", "gpu_cuda", "H200", health=DeviceHealth.OK)
WITH_GPU = replace(INVENTORY, accelerators=(GPU,))


def opened() -> AgentBench:
    bench = AgentBench()
    bench.welcome()
    return bench


def change(bench: AgentBench, *inventories: Inventory) -> None:
    for inventory in inventories:
        bench.session.inventory_changed(inventory)
    bench._drain()


def said(bench: AgentBench, kind: type[object]) -> list[object]:
    return [envelope.body for envelope in bench.sent if isinstance(envelope.body, kind)]


def test_each_heartbeat_tells_what_the_devices_do_then() -> None:
    bench = opened()
    bench.usage = USAGE
    bench.wait(10)
    assert [beat.usage for beat in said(bench, Heartbeat) if isinstance(beat, Heartbeat)] == [None, USAGE]


def test_a_changed_machine_is_told_once_and_only_as_it_is_now() -> None:
    bench = opened()
    change(bench, replace(WITH_GPU, cpu_cores=3), WITH_GPU)
    change(bench, WITH_GPU)
    assert said(bench, InventoryReport) == [InventoryReport(WITH_GPU)]


def test_a_machine_that_is_as_hello_said_is_no_news() -> None:
    bench = opened()
    change(bench, INVENTORY)
    assert said(bench, InventoryReport) == []


def test_a_change_before_welcome_waits_for_it() -> None:
    bench = AgentBench()
    change(bench, WITH_GPU)
    assert len(bench.sent) == 1
    bench.welcome()
    kinds = [type(envelope.body) for envelope in bench.sent[1:]]
    assert kinds == [Heartbeat, InventoryReport, ObservedReport]


def test_a_device_and_its_problem_are_told_whole() -> None:
    device = replace(
        GPU,
        vendor="NVIDIA",
        pci_address="0000:18:00.0",
        health=DeviceHealth.UNUSABLE,
        problem=Problem("ACCELERATOR_LOST", "Lost.", "Restart."),
        details={"architecture": "Hopper"},
    )
    (told,) = inventory_to_proto(replace(INVENTORY, accelerators=(device,))).accelerators
    assert told.health == accelerator_pb2.ACCELERATOR_HEALTH_UNUSABLE
    assert (told.problem.reason, told.problem.remedy) == (problem_pb2.REASON_ACCELERATOR_LOST, "Restart.")
    assert (told.pci_address, dict(told.details)) == ("0000:18:00.0", {"architecture": "Hopper"})
    unknown = inventory_to_proto(replace(INVENTORY, accelerators=(Accelerator("x", "other"),))).accelerators[0]
    assert (unknown.health, unknown.HasField("problem")) == (accelerator_pb2.ACCELERATOR_HEALTH_UNSPECIFIED, False)


def test_what_is_unknown_stays_absent_and_zero_is_told() -> None:
    told = usage_to_proto(USAGE)
    (cpu,) = told.accelerators
    assert (cpu.HasField("memory_used_bytes"), cpu.HasField("memory_total_bytes")) == (True, False)
    assert (cpu.HasField("temperature_celsius"), told.HasField("on_battery")) == (False, True)
    gpu = AcceleratorUsage("GPU-1", processes=(DeviceProcess(7),), throttle_reasons=("idle",), figures={"a_mhz": 1.0})
    (told_gpu,) = usage_to_proto(NodeUsage((gpu,))).accelerators
    assert not told_gpu.processes[0].HasField("memory_bytes")
    assert (list(told_gpu.throttle_reasons), dict(told_gpu.figures)) == (["idle"], {"a_mhz": 1.0})


def test_a_report_of_the_machine_is_a_message_of_its_own() -> None:
    message = agent_to_proto(AgentEnvelope(4, 7, InventoryReport(WITH_GPU)))
    assert message.inventory_report.inventory.accelerators[0].id == "GPU-1"


def test_what_was_refused_is_looked_at_again_at_once_when_the_machine_has_what_it_lacked() -> None:
    untrusted = Problem("ENGINE_NOT_TRUSTED", "Nobody here said that it may run.")
    refusals: list[Problem] = [untrusted]
    bench = AgentBench(admit=lambda _: next(iter(refusals), None))
    bench.welcome()
    bench.batch(1, 3, wanted("a", 3), snapshot=True)
    refusals.clear()
    bench.wait(1)
    assert bench.disk.specs == {}
    change(bench, replace(INVENTORY, engines=(Engine("llama.cpp", ("/opt/llama-server",), ()),)))
    bench.wait(0.1)
    assert list(bench.disk.specs) == [name_of("a")]
    assert [ack.problems for ack in bench.acks][-1] == ()
