"""Measures what a running engine takes, and remembers the most."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path

from node_agent.domain.footprint import Footprint, FootprintKey, Speeds, blended, grown, is_news, known_or
from node_agent.domain.speed import Counted, SpeedMeter
from node_agent.runtimes.kinds.adapter import Gauges
from node_agent.use_cases.ports import Footprints

LOOK_EVERY = 8
"""Probes: reading how much is really in memory costs as much as there is."""


class FootprintMeter:
    def __init__(
        self,
        known: Footprints,
        key: FootprintKey,
        memory: Callable[[], int],
        device_memory: Callable[[], int | None],
        tell: Callable[[Footprint], None],
    ) -> None:
        self._known = known
        self._key = key
        self._memory = memory
        self._device_memory = device_memory
        self._tell = tell
        self._probes = 0
        self._speed = SpeedMeter()
        self._speeds = Speeds()

    async def probed(self, gauges: Gauges) -> None:
        self._probes += 1
        counted = _counted(gauges)
        if counted is not None:
            self._speeds = blended(self._speeds, self._speed.idle(counted))
        if self._probes % LOOK_EVERY == 0:
            await self.learn(None)

    async def learn(self, load_time: timedelta | None) -> None:
        """`load_time` when it has just become ready; None: later, or launched by an earlier agent."""
        if not self._key.model_sha256 or not self._key.engine_sha256:
            return
        memory = await asyncio.to_thread(self._memory)
        before = self._known.of(self._key)
        if before is not None:
            self._speeds = known_or(self._speeds, before.speeds)
        launches = 0 if load_time is None else 1
        seen = Footprint(self._key, memory, load_time or timedelta(), self._device_memory(), launches, self._speeds)
        now = grown(before, seen)
        if is_news(before, now):
            await asyncio.to_thread(self._known.keep, now)
        self._tell(now)


def _counted(gauges: Gauges) -> Counted | None:
    """None while it is busy, or when it does not count all of it."""
    if gauges.requests_running != 0 or gauges.requests_waiting:
        return None
    figures = (
        gauges.generated_tokens_total,
        gauges.generated_seconds_total,
        gauges.prompt_tokens_total,
        gauges.prompt_seconds_total,
        gauges.steps_total,
        gauges.busy_per_step,
    )
    known = [figure for figure in figures if figure is not None]
    if len(known) < len(figures):
        return None
    generated, generated_s, prompt, prompt_s, steps, busy = known
    return Counted(generated, generated_s, prompt, prompt_s, steps, busy * steps)


def family(pid: int) -> set[int]:
    """Every descendant, asked of the kernel one by one: looking through all processes is too dear to do often."""
    found: set[int] = set()
    layer = {pid}
    while layer:
        layer = {child for parent in layer for child in _children(parent)} - found
        found |= layer
    return found


def _children(pid: int) -> Iterator[int]:
    """Of all its threads: each has its own."""
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            yield from map(int, file.read_text(encoding="ascii").split())
        except OSError:
            continue


def memory_of(pids: Iterable[int]) -> int:
    """Bytes: each page shared by several processes counts once among them; one that ended counts as nothing."""
    return sum(_field(pid, "smaps_rollup", "Pss:") or _field(pid, "status", "VmRSS:") for pid in pids)


def _field(pid: int, file: str, name: str) -> int:
    try:
        text = Path(f"/proc/{pid}/{file}").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    line = next((line for line in text.splitlines() if line.startswith(name)), "")
    return int(line.split()[1]) * 1024 if line else 0
