"""A machine with one GPU whose figures a test sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from node_agent.domain.inventory import (
    Accelerator,
    AcceleratorUsage,
    DeviceHealth,
    DeviceProcess,
    Inventory,
    NodeUsage,
)

GPU = "GPU-1"
GIB = 1 << 30
WELL = Accelerator(GPU, "gpu_cuda", "Fake GPU", health=DeviceHealth.OK)


def usage(used_gib: float | None, **processes_gib: float) -> NodeUsage:
    """Processes as p<PID>=GiB."""
    used = None if used_gib is None else int(used_gib * GIB)
    held = tuple(DeviceProcess(int(pid[1:]), int(gib * GIB)) for pid, gib in processes_gib.items())
    return NodeUsage((AcceleratorUsage(GPU, 16 * GIB, used, processes=held),))


@dataclass(slots=True)
class LeakyHardware:
    now: NodeUsage | None = None
    gpu: Accelerator = WELL
    more: tuple[Accelerator, ...] = ()
    looks: int = 0
    listeners: list[Callable[[Inventory], None]] = field(default_factory=list)

    @property
    def machine(self) -> Inventory:
        return Inventory("linux", "x86_64", "6", 4, 8 * GIB, (Accelerator("cpu", "cpu"), self.gpu, *self.more))

    def becomes(self, gpu: Accelerator) -> None:
        """A look at the machine finds its GPU like this."""
        self.gpu = gpu
        for listener in self.listeners:
            listener(self.machine)

    async def inventory(self) -> Inventory:
        return self.machine

    def usage(self) -> NodeUsage | None:
        self.looks += 1
        return self.now

    def on_change(self, listener: Callable[[Inventory], None]) -> None:
        self.listeners.append(listener)
