"""What this machine is, for the control plane."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

from node_agent.domain.inventory import Accelerator, Engine, Inventory
from node_agent.hardware.nvidia import nvidia_gpus
from node_agent.hardware.processor import Machine, read_machine

PROBE_PATIENCE = timedelta(seconds=10)
FRESH = timedelta(minutes=10)
"""A probe costs a tenth of a second of processor time; devices do not come and go by the minute."""


class LocalHardware:
    def __init__(self, engines: Callable[[], Sequence[Engine]], patience: timedelta = PROBE_PATIENCE) -> None:
        self._engines = engines
        self._patience = patience
        self._gpus: tuple[Accelerator, ...] = ()
        self._probed_at: float | None = None

    async def inventory(self) -> Inventory:
        """Devices as of at most ten minutes ago, engines as of now."""
        now = asyncio.get_running_loop().time()
        if self._probed_at is None or now - self._probed_at > FRESH.total_seconds():
            self._gpus = await nvidia_gpus(self._patience)
            self._probed_at = now
        machine = await asyncio.to_thread(read_machine)
        return _inventory(machine, self._gpus, self._engines())


def _inventory(machine: Machine, gpus: Sequence[Accelerator], engines: Sequence[Engine]) -> Inventory:
    cpu = Accelerator("cpu", "cpu", machine.cpu_name, machine.memory_bytes)
    return Inventory(
        os=machine.os,
        arch=machine.arch,
        os_release=machine.os_release,
        cpu_cores=machine.cpu_cores,
        memory_bytes=machine.memory_bytes,
        accelerators=(cpu, *gpus),
        engines=tuple(engines),
    )
