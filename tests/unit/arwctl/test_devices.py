from __future__ import annotations

import json
from pathlib import Path

import pytest

from arw.v1 import accelerator_pb2, node_pb2, problem_pb2
from tests.fakes.device_usage import USAGE
from tests.fakes.operator_api import OperatorApi
from tests.unit.arwctl.conftest import Arwctl

CPU = accelerator_pb2.Accelerator(
    id="cpu", kind_label="CPU", display_name="Some CPU", health_slug="ok", health_label="Ok", memory_bytes=16 << 30
)
GPU = accelerator_pb2.Accelerator(
    id="GPU-1",
    kind=accelerator_pb2.ACCELERATOR_KIND_GPU_CUDA,
    kind_label="GPU (CUDA)",
    display_name="NVIDIA H200",
    memory_bytes=141 << 30,
    driver_version="580.95.05",
    pci_address="0000:18:00.0",
    health=accelerator_pb2.ACCELERATOR_HEALTH_UNUSABLE,
    health_slug="unusable",
    health_label="Unusable",
    source="nvml",
    problem=problem_pb2.Problem(
        reason=problem_pb2.REASON_ACCELERATOR_LOST, text="The GPU fell off the bus.", remedy="Restart the machine."
    ),
)
SIMULATED = accelerator_pb2.Accelerator(
    id="simulated-gpu-0", kind_label="GPU (CUDA)", display_name="SIMULATED GPU", simulated=True, memory_bytes=24 << 30
)


@pytest.fixture
def node(api: OperatorApi) -> node_pb2.Node:
    inventory = node_pb2.NodeInventory(accelerators=[CPU, GPU, SIMULATED])
    api.nodes = [node_pb2.Node(name="nodes/a", inventory=inventory, usage=USAGE)]
    return api.nodes[0]


@pytest.mark.usefixtures("node")
async def test_a_node_shows_what_each_device_is_does_and_lacks(run: Arwctl, state: Path) -> None:
    shown = (await run("nodes", "show", "a", "--context", state / "context.json")).out
    lines = [line.strip() for line in shown.splitlines()]
    assert "Accelerator:        NVIDIA H200 - GPU (CUDA), unusable" in shown
    assert "GPU-1, PCI 0000:18:00.0, driver 580.95.05, told by nvml" in lines
    assert "memory 0.0 of 141.0 GiB, 0 % busy, 61 °C, 123 of 700 W, slowed by hardware thermal, last Xid 79" in lines
    assert lines.index("Restart the machine.") == lines.index("The GPU fell off the bus.") + 1
    assert "Battery:            80 %, in use" in shown


@pytest.mark.usefixtures("node")
async def test_what_is_unknown_is_not_shown_as_zero(run: Arwctl, state: Path) -> None:
    shown = (await run("nodes", "show", "a", "--context", state / "context.json")).out
    assert "memory 1.0 of 16.0 GiB, 12 % busy\n" in shown
    assert "memory 24.0 GiB\n" in shown


@pytest.mark.usefixtures("node")
async def test_a_simulated_device_says_so_in_every_view(run: Arwctl, state: Path) -> None:
    at = ("--context", state / "context.json")
    listed, shown = (await run("nodes", "list", *at)).out, (await run("nodes", "show", "a", *at)).out
    assert "SIMULATED GPU (simulated)" in listed
    assert "NVIDIA H200 (unusable)" in listed
    assert "SIMULATED GPU (simulated) - GPU (CUDA)" in shown
    (found,) = json.loads((await run("nodes", "list", "-o", "json", *at)).out)
    assert [device["simulated"] for device in found["inventory"]["accelerators"]] == [False, False, True]


@pytest.mark.usefixtures("node")
async def test_json_tells_every_field_and_leaves_out_what_is_unknown(run: Arwctl, state: Path) -> None:
    told = json.loads((await run("nodes", "show", "a", "-o", "json", "--context", state / "context.json")).out)
    cpu, gpu = told["usage"]["accelerators"]
    assert (gpu["power_milliwatts"], gpu["memory_used_bytes"], gpu["figures"]) == (123_456, 0, {"sm_clock_mhz": 1980.0})
    assert "temperature_celsius" not in cpu
    device = told["inventory"]["accelerators"][1]
    assert (device["kind"], device["health"], device["problem"]["reason"]) == (
        "gpu_cuda",
        "unusable",
        "accelerator_lost",
    )
