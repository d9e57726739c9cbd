"""Watches that an engine gives back what it is asked for: one that only takes is as good as dead."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from pathlib import Path

from node_agent.domain.progress import Sign, Stall, Traffic, stall, works
from node_agent.domain.timers import Timers


class ProgressWatch:
    """Costs the engine nothing while answers flow: it is asked only once it has been quiet for a probe period."""

    def __init__(
        self,
        traffic: Callable[[], Traffic | None],
        word: Callable[[], Awaitable[str | None]],
        cpu: Callable[[], timedelta],
        timers: Timers,
    ) -> None:
        self._traffic = traffic
        self._word = word
        self._cpu = cpu
        self._timers = timers
        self._worked = 0.0
        self._sign: Sign | None = None

    async def look(self) -> Stall | None:
        """None: it works, or nothing is asked of it. Final only after two signs between which nothing moved."""
        now = asyncio.get_running_loop().time()
        traffic = self._traffic()
        if traffic is None or traffic.held or self._heard_lately(traffic, now):
            self._sign = None
            return None
        before, self._sign = self._sign, await self._shown()
        if before is None:
            return None
        if works(before, self._sign):
            self._worked = now
        return stall(self._traffic() or traffic, self._worked, now, self._timers)

    def _heard_lately(self, traffic: Traffic, now: float) -> bool:
        return now - max(traffic.since, traffic.last_byte or 0.0) < self._timers.probe_period.total_seconds()

    async def _shown(self) -> Sign:
        word, cpu = await self._word(), await asyncio.to_thread(self._cpu)
        return Sign(asyncio.get_running_loop().time(), word, cpu)


def cpu_time(pids: Iterable[int]) -> timedelta:
    """User and system time of these processes; one that ended counts as nothing."""
    ticks = sum(_ticks(pid) for pid in pids)
    return timedelta(seconds=ticks / os.sysconf("SC_CLK_TCK"))


def _ticks(pid: int) -> int:
    """Fields 14 and 15 of /proc/PID/stat."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    user, system = text.rpartition(")")[2].split()[11:13]
    return int(user) + int(system)
