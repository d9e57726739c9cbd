"""Hears from the driver of Xids, double-bit errors and GPUs that go away, as they happen; it needs no kernel log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pynvml

from node_agent.hardware.nvidia.nvml import Fields
from node_agent.hardware.nvidia.probe import pci_address, said

XID = pynvml.nvmlEventTypeXidCriticalError
WANTED = (
    XID,
    pynvml.nvmlEventTypeDoubleBitEccError,
    getattr(pynvml, "nvmlEventTypeGpuUnavailableError", 0x4000),
    getattr(pynvml, "nvmlEventTypeGpuRecoveryAction", 0x8000),
)
MAX_EVENTS = 64
"""A round; the driver keeps the rest."""


@dataclass(frozen=True, slots=True)
class GpuEvent:
    id: str
    """UUID, or PCI address, of the GPU; empty when the driver does not say which."""
    xid: int | None
    """None: another event, after which the device has to be looked at again."""


class NvidiaWatch:
    """A driver that offers no events, as under Windows, is simply silent. Needs NVML to be started."""

    def __init__(self) -> None:
        self._set = Fields(None).read(pynvml.nvmlEventSetCreate)
        for index in range(Fields(None).read(pynvml.nvmlDeviceGetCount) or 0):
            handle = Fields(None).read(pynvml.nvmlDeviceGetHandleByIndex, index)
            if handle is not None and self._set is not None:
                _register(handle, self._set)

    def events(self) -> Iterator[GpuEvent]:
        """What happened since the last call; never waits. Nothing more is heard after a driver that failed here."""
        for _ in range(MAX_EVENTS):
            if self._set is None:
                return
            try:
                event = pynvml.nvmlEventSetWait_v2(self._set, 0)
            except pynvml.NVMLError as error:
                if error.value == pynvml.NVML_ERROR_TIMEOUT:
                    return
                self._set = None
                yield GpuEvent("", None)
            else:
                yield _told(event)


def _register(handle: Any, events: Any) -> None:
    """All kinds that the device supports; Xids when it does not say."""
    supported = Fields(handle)("nvmlDeviceGetSupportedEventTypes")
    mask = XID if supported is None else sum(kind for kind in WANTED if supported & kind)
    Fields(handle)("nvmlDeviceRegisterEvents", mask, events)


def _told(event: Any) -> GpuEvent:
    fields = Fields(event.device)
    id_ = said(fields("nvmlDeviceGetUUID")) or pci_address(event.device)
    return GpuEvent(id_, int(event.eventData) if event.eventType == XID else None)
