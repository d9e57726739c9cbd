"""Many nodes cut off at once, over real streams: what they run is left alone until a person or they say otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from arw.v1 import node_pb2
from arw.v1.node_service_pb2 import GetNodeRequest, ResumePlacementRequest
from arw.v1.runtime_service_pb2 import (
    MANIFEST_FORMAT_TOML,
    ApplyManifestRequest,
    ExplainRuntimeRequest,
    ListRuntimesRequest,
    WatchRuntimesRequest,
)
from arw.v1.state_service_pb2 import WatchEventsRequest
from tests.fakes.running_plane import RunningPlane, running_plane
from tests.fakes.scripted_agent import PATIENCE, ScriptedAgent

NODES = [f"n{number}" for number in range(5)]
CUT = NODES[2:]


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[RunningPlane]:
    """Whose nodes need not be heard for long, and are missed at once when their stream breaks."""
    async with running_plane(tmp_path, heartbeat=timedelta(seconds=20), amnesty=timedelta()) as made:
        yield made


@pytest.fixture
async def agents(plane: RunningPlane) -> dict[str, ScriptedAgent]:
    """One runtime on each."""
    joined = {node: await plane.agent(node) for node in NODES}
    await plane.declare("first")
    entries = "".join(
        f'[[runtimes]]\nid = "{node}"\nadapter = "llama.cpp"\nmodel = "m"\n'
        '[runtimes.placement]\non_disconnect = "move_after:1s"\n'
        for node in NODES
    )
    content = f"version = 1\n{entries}".encode()
    await plane.runtimes.ApplyManifest(ApplyManifestRequest(content=content, format=MANIFEST_FORMAT_TOML, source="m"))
    await until_placed(plane, *NODES)
    return joined


async def places(plane: RunningPlane) -> dict[str, str]:
    found = (await plane.runtimes.ListRuntimes(ListRuntimesRequest())).runtimes
    return {runtime.id: runtime.node for runtime in found if runtime.id != "first"}


async def until_placed(plane: RunningPlane, *nodes: str) -> None:
    """On exactly these."""
    changes = plane.runtimes.WatchRuntimes(WatchRuntimesRequest())
    async with asyncio.timeout(PATIENCE):
        while set((await places(plane)).values()) != {f"nodes/{node}" for node in nodes}:
            await changes.read()
    changes.cancel()


async def until_told(plane: RunningPlane, *, held: bool) -> None:
    events = plane.state.WatchEvents(WatchEventsRequest(prefixes=["cluster.placement.changed"], after_id=0))
    async with asyncio.timeout(PATIENCE):
        while (await events.read()).event.payload["held"] != held:
            pass
    events.cancel()


async def cut(plane: RunningPlane, agents: dict[str, ScriptedAgent]) -> None:
    await asyncio.gather(*(agents[node].hang_up() for node in CUT))
    for node in CUT:
        await plane.until_node(node, node_pb2.NODE_STATE_OFFLINE)


async def test_f20_of_many_that_are_cut_at_once_nothing_is_moved_before_an_operator_gives_them_up(
    plane: RunningPlane, agents: dict[str, ScriptedAgent]
) -> None:
    before = await places(plane)
    await cut(plane, agents)
    await until_told(plane, held=True)
    await asyncio.sleep(2)
    assert await places(plane) == before
    (lost, *_) = (runtime for runtime, node in before.items() if node == "nodes/n4")
    said = await plane.runtimes.ExplainRuntime(ExplainRuntimeRequest(name=f"runtimes/{lost}"))
    assert "3 of 5 nodes fell silent at once" in said.waits.text
    assert "arwctl nodes resume-placement" in said.waits.remedy

    given_up = (await plane.nodes.ResumePlacement(ResumePlacementRequest())).nodes
    assert [node.name for node in given_up] == [f"nodes/{node}" for node in CUT]
    await until_placed(plane, *(node for node in NODES if node not in CUT))
    await until_told(plane, held=False)
    assert (await plane.nodes.GetNode(GetNodeRequest(name="nodes/n4"))).node.given_up
    await asyncio.gather(*(agents[node].hang_up() for node in NODES if node not in CUT))


async def test_f19_when_all_are_cut_nothing_is_moved_and_contact_ends_it(
    plane: RunningPlane, agents: dict[str, ScriptedAgent]
) -> None:
    before = await places(plane)
    await asyncio.gather(*(agent.hang_up() for agent in agents.values()))
    await until_told(plane, held=True)
    await asyncio.sleep(2)
    for agent in agents.values():
        await agent.open()
    await until_told(plane, held=False)
    assert await places(plane) == before
    await asyncio.gather(*(agent.hang_up() for agent in agents.values()))
