"""Agents that have nothing to do: how they come, and what each costs its server."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from benchmarks.identities import Identity
from benchmarks.light_agents import LightAgent
from benchmarks.row import median

WINDOWS = 3
WINDOW_SECONDS = 10
COME_WITHIN_SECONDS = 400
KIB = 1024
_began = time.monotonic()


@dataclass(frozen=True, slots=True)
class Size:
    """How many agents there are, and how they come."""

    agents: int
    heartbeat_s: float
    """As it is with so many."""
    at_once: int
    """So many connect at a time. Of thousands that come at once most would wait for longer than a handshake may take,
    and come again and again."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of idle agents at a server."""

    percent: float
    """Of a core."""
    beat_ms: float
    """CPU of a heartbeat, with everything that goes on beside it."""
    kib: float
    """Of memory, each."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """Agents that are all there."""

    agents: Sequence[LightAgent]
    connected_s: float
    cost: Cost


@asynccontextmanager
async def crowd(server: psutil.Process, empty: int, identities: Sequence[Identity], size: Size) -> AsyncIterator[Crowd]:
    """They leave at the end. `empty`: the server's memory when nobody is known to it."""
    agents = [LightAgent(identity) for identity in identities]
    async with welcomed(agents, size.at_once) as seconds:
        await asyncio.sleep(size.heartbeat_s)
        cost = await _cost(server, empty, agents)
        progress(f"{len(agents):,} agents: {cost}")
        yield Crowd(agents, seconds, cost)


@asynccontextmanager
async def welcomed(agents: Sequence[LightAgent], at_once: int) -> AsyncIterator[float]:
    """All are connected, after so many seconds; they leave at the end."""
    async with asyncio.TaskGroup() as tasks:
        running: list[asyncio.Task[None]] = []
        seconds = await _come(tasks, running, agents, at_once)
        progress(f"{len(agents):,} agents connected in {seconds:.1f} s")
        yield seconds
        await asyncio.gather(*(agent.leave() for agent in agents))
        for task in running:
            task.cancel()


async def bare(certificates: Path, identities: Sequence[Identity], size: Size) -> Cost:
    """What the same agents cost a server that does nothing behind their streams."""
    program = [sys.executable, "-m", "benchmarks.bare_streams", str(certificates)]
    server = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE)
    try:
        port = await server.stdout.readline() if server.stdout is not None else b""
        there = [replace(identity, address=f"127.0.0.1:{int(port)}") for identity in identities]
        process = psutil.Process(server.pid)
        async with crowd(process, memory(process), there, size) as found:
            return found.cost
    finally:
        server.terminate()
        await server.wait()


def memory(process: psutil.Process) -> int:
    """Bytes that are its own, and its share of others."""
    found: int = process.memory_full_info().pss
    return found


def progress(what: str) -> None:
    """A line for whoever waits."""
    print(f"{time.monotonic() - _began:5.0f} s  {what}", file=sys.stderr, flush=True)


async def _come(
    tasks: asyncio.TaskGroup, running: list[asyncio.Task[None]], agents: Sequence[LightAgent], at_once: int
) -> float:
    """Seconds until all are welcome."""
    door = asyncio.Semaphore(at_once)

    async def comes(agent: LightAgent) -> None:
        async with door:
            running.append(tasks.create_task(agent.run()))
            await agent.welcomed.wait()

    started = time.monotonic()
    async with asyncio.timeout(COME_WITHIN_SECONDS):
        await asyncio.gather(*map(comes, agents))
    return time.monotonic() - started


async def _cost(server: psutil.Process, empty: int, agents: Sequence[LightAgent]) -> Cost:
    each = (memory(server) - empty) / len(agents) / KIB
    spent, beats = zip(*[await _window(server, agents) for _ in range(WINDOWS)], strict=True)
    beat = median([ms / number for ms, number in zip(spent, beats, strict=True)])
    return Cost(median(spent) / WINDOW_SECONDS / 10, beat, each)


async def _window(server: psutil.Process, agents: Sequence[LightAgent]) -> tuple[float, int]:
    """CPU in ms, and heartbeats."""
    spent, beats = _spent(server), _beats(agents)
    await asyncio.sleep(WINDOW_SECONDS)
    return (_spent(server) - spent) * 1000, _beats(agents) - beats


def _spent(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:2])


def _beats(agents: Sequence[LightAgent]) -> int:
    return sum(agent.beats for agent in agents)
