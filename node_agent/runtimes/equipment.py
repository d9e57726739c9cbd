"""What every owner of an instance works with."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from node_agent.domain.spec import InstanceName
from node_agent.domain.timers import Timers
from node_agent.runtimes.kinds.adapter import Adapter
from node_agent.runtimes.trust import TrustList
from node_agent.use_cases.ports import Digests

log = structlog.get_logger()

LOG_BYTES = 10_000_000
LOG_PIECES = 10


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Equipment:
    adapters: Mapping[str, Adapter]
    trusted: TrustList
    digests: Digests
    timers: Timers
    now: Callable[[], datetime] = utc_now
    chance: Callable[[], float] = random.random
    """In [0, 1): spreads back-off."""
    log_bytes: int = LOG_BYTES
    """An engine log is put aside at this size."""
    log_pieces: int = LOG_PIECES
    before_stop: list[Callable[[InstanceName], Awaitable[None]]] = field(default_factory=list)

    async def part(self, name: InstanceName) -> None:
        """Let others close their connections to the engine: an open request keeps it from ending."""
        try:
            async with asyncio.timeout(self.timers.stop_grace.total_seconds()):
                for hook in self.before_stop:
                    await hook(name)
        except TimeoutError:
            log.warning("before_stop_hook_late", instance=name)
