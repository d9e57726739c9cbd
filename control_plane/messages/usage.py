from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from itertools import islice

from arw.v1 import accelerator_pb2 as pb
from control_plane.domain.accelerator import AcceleratorUsage, DeviceProcess, NodeUsage
from control_plane.messages.texts import clipped, clipped_lines
from control_plane.messages.times import time_to_proto

MAX_DEVICES = 256
MAX_PROCESSES = 256
MAX_FIGURES = 64


def node_usage_to_proto(usage: NodeUsage | None) -> pb.NodeUsage | None:
    if usage is None:
        return None
    return pb.NodeUsage(
        accelerators=[_usage_to_proto(each) for each in usage.accelerators],
        battery_percent=usage.battery_percent,
        on_battery=usage.on_battery,
        update_time=time_to_proto(usage.update_time),
    )


def node_usage_from_proto(message: pb.NodeUsage, now: datetime) -> NodeUsage:
    """What a node says: bounded, and nothing but finite figures."""
    return NodeUsage(
        tuple(_usage_from_proto(each) for each in islice(message.accelerators, MAX_DEVICES)),
        now,
        _finite(message.battery_percent) if message.HasField("battery_percent") else None,
        message.on_battery if message.HasField("on_battery") else None,
    )


def _usage_to_proto(usage: AcceleratorUsage) -> pb.AcceleratorUsage:
    return pb.AcceleratorUsage(
        id=usage.id,
        memory_total_bytes=usage.memory_total_bytes,
        memory_used_bytes=usage.memory_used_bytes,
        utilization_percent=usage.utilization_percent,
        temperature_celsius=usage.temperature_celsius,
        power_milliwatts=usage.power_milliwatts,
        power_limit_milliwatts=usage.power_limit_milliwatts,
        throttle_reasons=usage.throttle_reasons,
        processes=[pb.AcceleratorProcess(pid=each.pid, memory_bytes=each.memory_bytes) for each in usage.processes],
        last_xid=usage.last_xid,
        figures=usage.figures,
    )


def _usage_from_proto(message: pb.AcceleratorUsage) -> AcceleratorUsage:
    has = message.HasField
    return AcceleratorUsage(
        id=clipped(message.id),
        memory_total_bytes=message.memory_total_bytes if has("memory_total_bytes") else None,
        memory_used_bytes=message.memory_used_bytes if has("memory_used_bytes") else None,
        utilization_percent=_finite(message.utilization_percent) if has("utilization_percent") else None,
        temperature_celsius=_finite(message.temperature_celsius) if has("temperature_celsius") else None,
        power_milliwatts=message.power_milliwatts if has("power_milliwatts") else None,
        power_limit_milliwatts=message.power_limit_milliwatts if has("power_limit_milliwatts") else None,
        throttle_reasons=clipped_lines(message.throttle_reasons),
        processes=tuple(_process_from_proto(each) for each in islice(message.processes, MAX_PROCESSES)),
        last_xid=message.last_xid if has("last_xid") else None,
        figures=_figures(message.figures),
    )


def _process_from_proto(message: pb.AcceleratorProcess) -> DeviceProcess:
    return DeviceProcess(message.pid, message.memory_bytes if message.HasField("memory_bytes") else None)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _figures(found: Mapping[str, float]) -> dict[str, float]:
    return {clipped(name): value for name, value in islice(found.items(), MAX_FIGURES) if math.isfinite(value)}
