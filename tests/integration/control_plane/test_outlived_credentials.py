"""A stream is no longer-lived than the certificate that opened it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from arw.v1.agent_service_pb2_grpc import AgentServiceStub
from arw.v1.node_service_pb2 import ListNodesRequest, RevokeNodeRequest
from arw.v1.runtime_service_pb2 import StreamLogsRequest, WatchRuntimesRequest
from arw.v1.state_service_pb2 import WatchEventsRequest
from control_plane.domain.ids import OperatorId
from control_plane.domain.operator import Operator
from tests.fakes.clock import SetClock
from tests.fakes.patience import SLACK
from tests.fakes.relay_rig import until
from tests.fakes.running_plane import RunningPlane, running_plane
from tests.fakes.scripted_agent import ScriptedAgent
from wire.error_status import RemoteRefusal, refusal_of

LOCAL = OperatorId("local")


async def change_operator(plane: RunningPlane, **change: Any) -> None:
    def put(tx: Any) -> None:
        row: Operator = tx.operators.get(LOCAL)
        tx.operators.put(replace(row, **change))

    await plane.on.store.write(put)


async def refused(call: Any) -> RemoteRefusal:
    """Why the stream ended."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with asyncio.timeout(5 * SLACK):
            while await call.read() is not grpc.aio.EOF:
                pass
    return refusal_of(caught.value)


@contextmanager
def watching(plane: RunningPlane) -> Iterator[dict[str, Any]]:
    health: Any = HealthStub(plane.channel)
    calls = {
        "events": plane.state.WatchEvents(WatchEventsRequest(after_id=0)),
        "runtimes": plane.runtimes.WatchRuntimes(WatchRuntimesRequest()),
        "health": health.Watch(health_pb2.HealthCheckRequest()),
    }
    yield calls
    for call in calls.values():
        call.cancel()


@asynccontextmanager
async def every_stream(plane: RunningPlane) -> AsyncIterator[dict[str, Any]]:
    """All that an operator can watch, each having said something already."""
    agent = await plane.agent("n1")
    await agent.ack(await agent.hear_batch())
    await plane.declare("r1")
    await agent.ack(await agent.hear_batch())
    with watching(plane) as calls:
        calls["logs"] = plane.runtimes.StreamLogs(StreamLogsRequest(name="r1", follow=True))
        await agent.hear("log_request")
        for name in ("events", "runtimes", "health"):
            await calls[name].read()
        yield calls
    await agent.hang_up()


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"revoked": True}, "CERTIFICATE_REVOKED"), ({"certificate_serial": "ab"}, "CERTIFICATE_NOT_ACTIVE")],
)
async def test_every_stream_of_an_operator_ends_with_its_standing(
    plane: RunningPlane, change: dict[str, Any], reason: str
) -> None:
    async with every_stream(plane) as calls:
        await change_operator(plane, **change)
        async with asyncio.timeout(2 * SLACK):
            endings = await asyncio.gather(*(refused(call) for call in calls.values()))
    assert {ending.remote_reason for ending in endings} == {reason}
    assert {ending.code for ending in endings} == {grpc.StatusCode.PERMISSION_DENIED}
    assert all("arw-control-plane init" in ending.remedy for ending in endings)


async def test_streams_end_within_a_tick_of_their_certificates_end(state: Path) -> None:
    clock = SetClock()
    async with running_plane(state, clock=clock) as plane:
        with watching(plane) as calls:
            await until(lambda: sum(map(len, plane.plane._streams._open.values())) == len(calls))
            clock.by = plane.on.timers.operator_certificate
            endings = await asyncio.gather(*(refused(call) for call in calls.values()))
    assert {ending.remote_reason for ending in endings} == {"CERTIFICATE_EXPIRED"}
    assert {ending.code for ending in endings} == {grpc.StatusCode.UNAUTHENTICATED}


async def test_streams_of_who_is_still_welcome_go_on(plane: RunningPlane) -> None:
    async with every_stream(plane) as calls:
        await change_operator(plane, name="Another name")
        assert (await plane.join("n2")).node == "nodes/n2"
        async with asyncio.timeout(5 * SLACK):
            while (await calls["events"].read()).event.subject != "nodes/n2":
                pass


async def test_what_a_revoked_node_holds_open_beside_its_session_ends_too(plane: RunningPlane) -> None:
    agent = ScriptedAgent(await plane.join("n1"))
    async with agent.credentials.channel() as channel:
        push = AgentServiceStub(channel).PushLogs()
        stub: Any = HealthStub(channel)
        health = stub.Watch(health_pb2.HealthCheckRequest())
        await health.read()
        await plane.nodes.RevokeNode(RevokeNodeRequest(name="nodes/n1"))
        async with asyncio.timeout(2 * SLACK):
            ending = await refused(health)
            code = await push.code()
    assert ending.remote_reason == "CERTIFICATE_REVOKED"
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert len((await plane.nodes.ListNodes(ListNodesRequest())).nodes) == 1


async def test_streams_that_ended_are_forgotten(plane: RunningPlane) -> None:
    async with every_stream(plane):
        assert len(plane.plane._streams._open) == 1
    await until(lambda: not plane.plane._streams._open)
