"""A control plane in the test's own loop, with an agent in a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from arw.v1.state_service_pb2 import ListEventsRequest, WatchEventsRequest
from control_plane.use_cases.ports import Clock
from tests.fakes.patience import SLACK
from tests.fakes.processes import AgentProcess, environment
from tests.fakes.running_plane import RunningPlane, running_plane


@asynccontextmanager
async def linked(
    clock: Clock | None = None, env: Mapping[str, str] | None = None, **timers: Any
) -> AsyncIterator[tuple[RunningPlane, AgentProcess]]:
    """In sync, and told to be online. `clock` is the control plane's, `env` what the agent finds in addition."""
    with TemporaryDirectory(prefix="arw-drill-", ignore_cleanup_errors=True) as folder:
        agent = AgentProcess(Path(folder), environment(**(env or {})))
        async with running_plane(Path(folder), clock=clock, **timers) as plane:
            joined = await asyncio.to_thread(agent.join, plane.address("enrollment"), await plane.token())
            assert joined.returncode == 0, joined.stderr
            agent.start()
            try:
                await asyncio.to_thread(agent.until_link, "in_sync")
                await told(plane, "online")
                yield plane, agent
            finally:
                agent.end()


async def told(plane: RunningPlane, state: str, after_id: int = 0) -> int:
    """Until the journal, which learns of a node a moment after the fleet, says so; the event's id."""
    events = plane.state.WatchEvents(WatchEventsRequest(prefixes=["cluster.node.changed"], after_id=after_id))
    async with asyncio.timeout(20 * SLACK):
        while (event := (await events.read()).event).payload["state"] != state:
            pass
    events.cancel()
    return int(event.id)


async def node_turns(plane: RunningPlane) -> list[str]:
    events = (await plane.state.ListEvents(ListEventsRequest(prefixes=["cluster.node.changed"]))).events
    return [str(event.payload["state"]) for event in events]
