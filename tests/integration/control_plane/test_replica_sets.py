"""Runtimes with replicas over the wire, with two nodes that take what they are given."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from arw.v1 import runtime_service_pb2 as pb
from arw.v1.instance_pb2 import INSTANCE_STATE_PENDING
from arw.v1.runtime_pb2 import DESIRED_STATE_RUNNING, DESIRED_STATE_STOPPED, Runtime
from tests.fakes.http_talk import talking
from tests.fakes.patience import SLACK
from tests.fakes.running_plane import RunningPlane
from wire.error_status import refusal_of

MANIFEST = b"""version = 1
[[runtimes]]
id = "chat"
adapter = "external"
external = { url = "http://127.0.0.1:1" }
auto_start = true
replicas = 2
"""


async def rows(plane: RunningPlane) -> dict[str, Runtime]:
    return {row.id: row for row in (await plane.runtimes.ListRuntimes(pb.ListRuntimesRequest())).runtimes}


async def by_http(plane: RunningPlane) -> Any:
    async with asyncio.timeout(10 * SLACK), talking(plane.ports["http"]) as talk:
        talk.ask("GET", "/state/runtimes", authorization=f"Bearer {plane.context['token']}")
        return (await talk.reply()).json()["runtimes"]


async def test_a_set_is_declared_scaled_stopped_and_deleted_as_one(plane: RunningPlane) -> None:
    agents = [await plane.agent(name) for name in ("n1", "n2")]
    apply = pb.ApplyManifestRequest(content=MANIFEST, format=pb.MANIFEST_FORMAT_TOML, source="m")
    applied = (await plane.runtimes.ApplyManifest(apply)).runtimes
    assert [(row.runtime.id, row.runtime.replica_of) for row in applied] == [("chat", ""), ("chat.2", "runtimes/chat")]
    placed = [await plane.until_runtime(name, INSTANCE_STATE_PENDING) for name in ("chat", "chat.2")]
    assert sorted(row.node for row in placed) == ["nodes/n1", "nodes/n2"]

    grown = (await plane.runtimes.ScaleRuntime(pb.ScaleRuntimeRequest(name="runtimes/chat", replicas=3))).runtime
    assert grown.spec.replicas == 3
    explained = await plane.runtimes.ExplainRuntime(pb.ExplainRuntimeRequest(name="runtimes/chat.3"))
    reasons = [problem.text for verdict in explained.verdicts for problem in verdict.problems]
    assert len([text for text in reasons if "has a replica of chat already" in text]) == 2
    assert [(row["id"], row.get("replicas", 1), row.get("replica_of")) for row in await by_http(plane)] == [
        ("chat", 3, None),
        ("chat.2", 1, "chat"),
        ("chat.3", 1, "chat"),
    ]

    stopped = await plane.runtimes.ShutdownRuntime(pb.ShutdownRuntimeRequest(name="runtimes/chat"))
    assert stopped.runtime.desired_state == DESIRED_STATE_STOPPED
    assert {row.desired_state for row in (await rows(plane)).values()} == {DESIRED_STATE_STOPPED}
    await plane.runtimes.RestoreRuntime(pb.RestoreRuntimeRequest(name="runtimes/chat"))
    assert {row.desired_state for row in (await rows(plane)).values()} == {DESIRED_STATE_RUNNING}

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await plane.runtimes.DeleteRuntime(pb.DeleteRuntimeRequest(name="runtimes/chat.2"))
    refusal = refusal_of(caught.value)
    assert (refusal.remote_reason, refusal.metadata["replica_of"]) == ("INVALID_ARGUMENT", "chat")
    await plane.runtimes.DeleteRuntime(pb.DeleteRuntimeRequest(name="runtimes/chat"))
    assert await rows(plane) == {}
    for agent in agents:
        await agent.hang_up()
