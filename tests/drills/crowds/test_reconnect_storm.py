"""A thousand agents whose control plane is killed and comes back."""

from __future__ import annotations

import asyncio
import math
import random
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from arw.v1.node_service_pb2 import ListNodesRequest
from arw.v1.node_service_pb2_grpc import NodeServiceStub
from benchmarks.identities import Identity, joined
from benchmarks.light_agents import LightAgent
from control_plane.process.descriptors import raise_limit
from control_plane.process.listening import free_ports
from node_agent.control_link.backoff import Backoff
from tests.fakes.deaf_watchers import operator_channel
from tests.fakes.processes import ControlPlaneProcess

pytestmark = [pytest.mark.alone, pytest.mark.timeout(180)]
AGENTS = 1000
WITHIN_S = 30.0
"""Half of it is what the contract wants of a machine that does nothing else; the benchmark tells."""
AT_ONCE = 700
"""Connections in any one second: one core takes in some 400 here, and a faster one more."""
TYPICAL_S, WORST_S = 1.0, 5.0
"""An operator's wait meanwhile; clients and control plane share the same two cores here."""
PORTS = ("grpc", "enrollment", "relay", "http")


class ComingBack(LightAgent):
    """Waits before each attempt as the real agent does."""

    async def run(self) -> None:
        backoff = Backoff(timedelta(seconds=30), random.random)
        while True:
            with suppress(OSError):
                await self._connect()
            if self.welcomed.is_set():
                self.welcomed.clear()
                backoff.settled()
            await asyncio.sleep(backoff.delay().total_seconds())


@asynccontextmanager
async def agents(identities: list[Identity]) -> AsyncIterator[list[ComingBack]]:
    made = [ComingBack(identity) for identity in identities]
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(agent.run()) for agent in made]
        yield made
        for task in running:
            task.cancel()


async def all_in(those: list[ComingBack]) -> float:
    """When the last was welcomed."""
    async with asyncio.timeout(60):
        await asyncio.gather(*(agent.welcomed.wait() for agent in those))
    return max(agent.connected_at for agent in those)


async def test_f21_a_thousand_agents_come_back_to_a_control_plane_that_was_killed_without_a_rush() -> None:
    raise_limit()
    with TemporaryDirectory(prefix="arw-drill-", ignore_cleanup_errors=True) as folder:
        plane = ControlPlaneProcess(Path(folder))
        ports = zip(PORTS, free_ports("127.0.0.1", len(PORTS)), strict=True)
        plane._command(
            "init", *(word for name, port in ports for word in (f"--{name}-port", str(port)))
        ).check_returncode()
        identities = await joined(Path(folder), range(AGENTS))
        await asyncio.to_thread(plane.start)
        try:
            async with agents(identities) as those:
                await all_in(those)
                await asyncio.to_thread(plane.end)
                await asyncio.sleep(2)
                await asyncio.to_thread(plane.start)
                serving = time.monotonic()
                waits = await asked_meanwhile(Path(folder), those)
                took = await all_in(those) - serving
                rush = Counter(math.floor(agent.connected_at) for agent in those)
            assert took < WITHIN_S
            assert max(rush.values()) <= AT_ONCE, rush
            assert statistics.median(waits) < TYPICAL_S
            assert max(waits) < WORST_S
        finally:
            plane.end()


async def asked_meanwhile(folder: Path, those: list[ComingBack]) -> list[float]:
    """How long an operator waited for each answer, until all are back."""
    waits = []
    async with operator_channel(folder / "context.json") as channel:
        while not all(agent.welcomed.is_set() for agent in those):
            began = time.monotonic()
            await NodeServiceStub(channel).ListNodes(ListNodesRequest(page_size=1), timeout=10)
            waits.append(time.monotonic() - began)
            await asyncio.sleep(0.1)
    return waits
