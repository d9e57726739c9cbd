"""What NVIDIA GPUs were heard to suffer lately: a device that looks well right after an error is not yet trusted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

from node_agent.domain.inventory import Accelerator, AcceleratorUsage, DeviceHealth
from node_agent.hardware.nvidia import xids

KEPT = timedelta(hours=1)
"""After the last one of its kind. A GPU that the driver itself calls unusable stays so without this."""


@dataclass(slots=True)
class XidMemory:
    _last: dict[str, int] = field(default_factory=dict)
    """Xid by device id."""
    _grave: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Xid that speaks against the device, and when it came in seconds of the caller's clock."""

    def note(self, device: str, xid: int, now: float) -> None:
        self._last[device] = xid
        if xids.verdict(xid) is not None:
            self._grave[device] = (xid, now)

    def worn(self, device: Accelerator, now: float) -> Accelerator:
        """The device with what an Xid of the last hour says of it, when that is worse than what it shows."""
        xid, at = self._grave.get(device.id) or self._grave.get(device.partition_of) or (0, now)
        found = xids.verdict(xid) if now - at <= KEPT.total_seconds() else None
        if found is None or device.health is DeviceHealth.UNUSABLE:
            return device
        return replace(device, health=found[0], problem=found[1])

    def noted(self, usage: AcceleratorUsage) -> AcceleratorUsage:
        return replace(usage, last_xid=self._last.get(usage.id))
