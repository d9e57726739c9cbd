from __future__ import annotations

from dataclasses import replace

import pytest

from node_agent.domain.inventory import Accelerator, AcceleratorUsage, DeviceHealth
from node_agent.domain.status import Problem
from node_agent.hardware.nvidia.xid_memory import XidMemory
from node_agent.hardware.nvidia.xids import verdict

GPU = Accelerator("GPU-1", "gpu_cuda", health=DeviceHealth.OK)
PART = Accelerator("MIG-1", "gpu_cuda", health=DeviceHealth.OK, partition_of="GPU-1")
HOUR = 3600.0


@pytest.mark.parametrize(
    ("xids", "health"),
    [
        ((13, 31, 43, 45, 1, 999), None),
        ((48, 63, 64, 74, 94, 154), DeviceHealth.DEGRADED),
        ((79, 95, 119, 120), DeviceHealth.UNUSABLE),
    ],
)
def test_an_xid_speaks_against_its_gpu_as_nvidia_says(xids: tuple[int, ...], health: DeviceHealth | None) -> None:
    for xid in xids:
        found = verdict(xid)
        assert (found and found[0]) is health
        assert found is None or str(xid) in found[1].text
        assert found is None or found[1].remedy


def test_a_grave_xid_counts_for_an_hour_for_the_gpu_and_its_parts() -> None:
    memory = XidMemory()
    memory.note("GPU-1", 48, 0.0)
    assert [memory.worn(device, HOUR).health for device in (GPU, PART)] == [DeviceHealth.DEGRADED] * 2
    assert memory.worn(GPU, HOUR + 1) == GPU
    assert memory.worn(replace(GPU, id="GPU-2"), 1.0).health is DeviceHealth.OK


def test_what_the_driver_itself_calls_unusable_keeps_its_own_reason() -> None:
    memory = XidMemory()
    memory.note("GPU-1", 48, 0.0)
    broken = replace(GPU, health=DeviceHealth.UNUSABLE, problem=Problem("ACCELERATOR_LOST", "Lost."))
    assert memory.worn(broken, 1.0) == broken


def test_a_lesser_xid_does_not_cover_a_grave_one() -> None:
    memory = XidMemory()
    memory.note("GPU-1", 79, 0.0)
    memory.note("GPU-1", 31, 1.0)
    assert memory.worn(GPU, 2.0).health is DeviceHealth.UNUSABLE
    assert memory.noted(AcceleratorUsage("GPU-1")).last_xid == 31
    assert memory.noted(AcceleratorUsage("cpu")).last_xid is None
