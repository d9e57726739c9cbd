"""What every owner of an instance works with."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog

from node_agent.domain.inventory import Accelerator, NodeUsage
from node_agent.domain.limits import Limits
from node_agent.domain.progress import Traffic
from node_agent.domain.spec import InstanceName
from node_agent.domain.status import Problem
from node_agent.domain.timers import Timers
from node_agent.runtimes.attachable import Attachable
from node_agent.runtimes.containers.service import Containers
from node_agent.runtimes.kinds.adapter import Adapter
from node_agent.runtimes.survivors import Survivors
from node_agent.runtimes.trust import TrustList
from node_agent.runtimes.unlearnt import NoDeviceMemory, NoDeviceTroubles, NoFootprints
from node_agent.use_cases.ports import Carrier, DeviceMemory, DeviceTroubles, Digests, Footprints, StopHook

log = structlog.get_logger()

LOG_BYTES = 10_000_000
LOG_PIECES = 10
LOOK_AGAIN_SECONDS = 0.05


def utc_now() -> datetime:
    return datetime.now(UTC)


async def no_devices() -> Sequence[Accelerator]:
    return ()


@dataclass(frozen=True, slots=True)
class Equipment:
    adapters: Mapping[str, Adapter]
    trusted: TrustList
    attachable: Attachable
    digests: Digests
    timers: Timers
    now: Callable[[], datetime] = utc_now
    chance: Callable[[], float] = random.random
    """In [0, 1): spreads back-off."""
    limits: Callable[[], Limits] = Limits
    """What this machine's owner says now."""
    devices: Callable[[], Awaitable[Sequence[Accelerator]]] = no_devices
    """Of this machine; asked only when its owner limits them, or one must not be used."""
    device_memory: DeviceMemory = field(default_factory=NoDeviceMemory)
    device_troubles: DeviceTroubles = field(default_factory=NoDeviceTroubles)
    footprints: Footprints = field(default_factory=NoFootprints)
    containers: Containers = field(default_factory=Containers)
    survivors: Survivors = field(default_factory=Survivors)
    log_bytes: int = LOG_BYTES
    """An engine log is put aside at this size."""
    log_pieces: int = LOG_PIECES
    hands_off: Callable[[], bool] = lambda: False
    """While it holds, what runs is taken over and watched; nothing is started, stopped or given up."""
    closed: Callable[[], Problem | None] = lambda: None
    """Why nothing is launched here for the first time now, whatever the owner permits; None: it is."""
    silence: Callable[[], timedelta | None] = lambda: None
    """Since the last contact with the control plane; None: there is contact."""
    usage: Callable[[], NodeUsage | None] = lambda: None
    """What the devices do now."""
    free_memory: Callable[[], int | None] = lambda: None
    """Bytes that this machine still has; None: not known, and then no engine is launched beside another."""
    before_stop: list[StopHook] = field(default_factory=list)
    carriers: list[Carrier] = field(default_factory=list)
    """Who brings requests to engines, and knows which are unanswered."""

    def traffic(self, name: InstanceName, port: int = 0) -> Traffic | None:
        """`port`: of one of its engines; 0: of any. So it is in what follows."""
        return next((found for carrier in self.carriers if (found := carrier(name, port)) is not None), None)

    async def finished(self, name: InstanceName, port: int = 0) -> None:
        """Let what its engine has in hand be answered, for as long as the stop grace."""
        try:
            async with asyncio.timeout(self.timers.stop_grace.total_seconds()):
                while self.traffic(name, port) is not None:  # noqa: ASYNC110 - carriers say what they carry, not when it ends
                    await asyncio.sleep(LOOK_AGAIN_SECONDS)
        except TimeoutError:
            log.warning("requests_cut_short", instance=name)

    async def part(self, name: InstanceName, port: int = 0) -> None:
        """Let others close their connections to the engine: an open request keeps it from ending."""
        try:
            async with asyncio.timeout(self.timers.stop_grace.total_seconds()):
                for hook in self.before_stop:
                    await hook(name, port)
        except TimeoutError:
            log.warning("before_stop_hook_late", instance=name)
