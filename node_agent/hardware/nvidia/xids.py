"""What an NVIDIA Xid means: whose fault it was, and what to do."""

from __future__ import annotations

from node_agent.domain.inventory import DeviceHealth
from node_agent.domain.status import Problem
from node_agent.hardware import complaints

RESTART_ENGINE = frozenset({13, 31, 43, 45})
"""The application's own fault: the engine restarts, the GPU is well."""
DRAIN = "Drain this node's runtimes, then reset the GPU (nvidia-smi --gpu-reset) or restart the machine."


def verdict(xid: int) -> tuple[DeviceHealth, Problem] | None:  # noqa: PLR0911 - one line an Xid
    """None when it says nothing of the GPU itself, or nothing is known of it."""
    match xid:
        case 79:
            return DeviceHealth.UNUSABLE, complaints.lost("The GPU fell off the bus (Xid 79).")
        case 95:
            text = "The GPU's memory had an uncontained error (Xid 95)."
            return DeviceHealth.UNUSABLE, complaints.reset_required(text)
        case 119 | 120:
            return DeviceHealth.UNUSABLE, complaints.reset_required(f"The GPU's firmware hangs (Xid {xid}).")
        case 48 | 94:
            text = f"The GPU's memory had an uncorrected error (Xid {xid}); the engine that met it was ended."
            return DeviceHealth.DEGRADED, complaints.unhealthy(text, DRAIN)
        case 63:
            text = "The GPU replaces a broken row of its memory at its next reset (Xid 63)."
            return DeviceHealth.DEGRADED, complaints.unhealthy(text, DRAIN)
        case 64:
            text = "The GPU failed to replace a broken row of its memory (Xid 64)."
            return DeviceHealth.DEGRADED, complaints.unhealthy(text, "Have the GPU replaced.")
        case 74:
            text = "An NVLink of the GPU had an error (Xid 74)."
            return DeviceHealth.DEGRADED, complaints.unhealthy(text, "Check its bridge or fabric, then reset it.")
        case 154:
            text = "The driver asks for a recovery of the GPU (Xid 154)."
            return DeviceHealth.DEGRADED, complaints.unhealthy(text, DRAIN)
        case _:
            return None
