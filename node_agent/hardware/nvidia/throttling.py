"""Why an NVIDIA GPU runs slower than it could."""

from __future__ import annotations

from node_agent.hardware.nvidia.nvml import Fields

REASONS = {
    0x1: "idle",
    0x2: "application_clocks",
    0x4: "software_power_cap",
    0x8: "hardware_slowdown",
    0x10: "sync_boost",
    0x20: "software_thermal",
    0x40: "hardware_thermal",
    0x80: "hardware_power_brake",
    0x100: "display_clocks",
    0x200: "board_limit",
    0x400: "reliability",
}


def throttle_reasons(fields: Fields) -> tuple[str, ...]:
    mask = fields("nvmlDeviceGetCurrentClocksEventReasons")
    if mask is None:
        mask = fields("nvmlDeviceGetCurrentClocksThrottleReasons")
    return tuple(name for bit, name in REASONS.items() if mask and mask & bit)
