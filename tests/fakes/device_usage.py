"""What two devices of a node do, as the agent tells it."""

from __future__ import annotations

from arw.v1 import accelerator_pb2 as pb

CPU = pb.AcceleratorUsage(id="cpu", utilization_percent=12.5, memory_used_bytes=1 << 30)
GPU = pb.AcceleratorUsage(
    id="GPU-1",
    memory_total_bytes=141 << 30,
    memory_used_bytes=0,
    utilization_percent=0.0,
    temperature_celsius=61.0,
    power_milliwatts=123_456,
    power_limit_milliwatts=700_000,
    throttle_reasons=["hardware_thermal"],
    processes=[pb.AcceleratorProcess(pid=4242)],
    last_xid=79,
    figures={"sm_clock_mhz": 1980.0},
)
USAGE = pb.NodeUsage(accelerators=[CPU, GPU], battery_percent=80.0, on_battery=True)
