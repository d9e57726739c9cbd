from __future__ import annotations

import asyncio
import ssl
from datetime import timedelta
from typing import Any

import grpc
import pytest

from arw.v1 import instance_pb2, node_pb2, problem_pb2, session_pb2
from arw.v1.agent_service_pb2 import ConnectRequest, PushLogsRequest, RenewCertificateRequest
from arw.v1.agent_service_pb2_grpc import AgentServiceStub
from arw.v1.node_service_pb2 import GetNodeRequest, ListNodesRequest
from arw.v1.node_service_pb2_grpc import NodeServiceStub
from arw.v1.runtime_service_pb2 import ListRuntimesRequest, StreamLogsRequest
from control_plane.sessions.rules import SessionRules
from tests.fakes.patience import SLACK
from tests.fakes.running_plane import RunningPlane
from tests.fakes.scripted_agent import ScriptedAgent
from wire.channel import unix_channel
from wire.error_status import refusal_of


async def still_answers(plane: RunningPlane) -> bool:
    return (await plane.nodes.ListNodes(ListNodesRequest(), timeout=5)) is not None


@pytest.mark.parametrize("port", ["grpc", "enrollment"])
async def test_garbage_on_a_port_hurts_nobody_else(plane: RunningPlane, port: str) -> None:
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + b"\xff" * 500, b"\0" * 5000):
        reader, writer = await asyncio.open_connection("127.0.0.1", plane.ports[port])
        writer.write(garbage)
        with_tls_only = await asyncio.wait_for(reader.read(100), 15)
        writer.close()
        assert b"HTTP/1.1 200" not in with_tls_only
    assert await still_answers(plane)


async def test_garbage_inside_tls_hurts_nobody_else(plane: RunningPlane) -> None:
    context = ssl.create_default_context(cadata=plane.context["ca_pem"])
    context.set_alpn_protocols(["h2"])
    address = ("127.0.0.1", plane.ports["enrollment"])
    reader, writer = await asyncio.open_connection(*address, ssl=context, server_hostname="localhost")
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 4000)
    await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert await still_answers(plane)


async def test_a_message_of_five_mebibytes_ends_its_own_stream_only(plane: RunningPlane) -> None:
    big, other = await plane.agent("n1"), await plane.agent("n2")
    instance = instance_pb2.Instance(name="nodes/n1/instances/r", summary="x" * 5 * 1024 * 1024)
    # The sender's own limit would stop it first, so this one has none.
    options = (("grpc.max_send_message_length", -1), ("grpc.ssl_target_name_override", "control-plane.arw.internal"))
    credentials = big.credentials
    tls = grpc.ssl_channel_credentials(credentials.ca, credentials.key, credentials.chain)
    await big.hang_up()
    async with grpc.aio.secure_channel(credentials.address, tls, options=options) as channel:
        call = AgentServiceStub(channel).Connect()
        report = session_pb2.ObservedReport(observed_seq=1, full=True, instances=[instance])
        from_agent = session_pb2.AgentMessage(seq=1, observed_report=report)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.write(ConnectRequest(message=from_agent))
            while await call.read() is not grpc.aio.EOF:
                pass
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await other.say(heartbeat=session_pb2.Heartbeat())
    await other.hear("heartbeat_ack")
    await other.hang_up()


async def test_a_flood_of_inventories_costs_a_few_writes_and_ends_its_own_stream_only(plane: RunningPlane) -> None:
    flooding, other = await plane.agent("n1"), await plane.agent("n2")
    for cores in range(1, 10 * SessionRules().inventory_flood):
        report = session_pb2.InventoryReport(inventory=node_pb2.NodeInventory(cpu_cores=cores))
        try:
            await flooding.say(inventory_report=report)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            break
    refusal = await flooding.refusal()
    assert refusal.problem.reason == problem_pb2.REASON_RATE_LIMITED
    assert refusal.HasField("retry_after")
    stored = (await plane.nodes.GetNode(GetNodeRequest(name="nodes/n1"))).node.inventory.cpu_cores
    assert 1 <= stored <= SessionRules().inventories_at_once + 5, "they were not taken in one by one"
    await other.say(heartbeat=session_pb2.Heartbeat())
    await other.hear("heartbeat_ack")
    await other.hang_up()


async def test_a_node_may_not_ask_as_an_operator(plane: RunningPlane) -> None:
    agent = await plane.join("n1")
    async with agent.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await NodeServiceStub(channel).GetNode(GetNodeRequest(name="nodes/n1"))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_an_operator_may_not_speak_as_a_node(plane: RunningPlane) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await AgentServiceStub(plane.channel).RenewCertificate(RenewCertificateRequest())
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_page_token_of_one_list_opens_no_other(plane: RunningPlane) -> None:
    await plane.join("n1")
    await plane.join("n2")
    page = await plane.nodes.ListNodes(ListNodesRequest(page_size=1))
    rest = await plane.nodes.ListNodes(ListNodesRequest(page_size=1, page_token=page.next_page_token))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await plane.runtimes.ListRuntimes(ListRuntimesRequest(page_token=page.next_page_token))
    assert [node.name for node in (*page.nodes, *rest.nodes)] == ["nodes/n1", "nodes/n2"]
    assert refusal_of(caught.value).remote_reason == "PAGE_TOKEN_INVALID"


async def test_reflection_answers_only_on_the_local_socket(plane: RunningPlane) -> None:
    method = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    socket = plane.on.paths.runtime / "admin.sock"
    async with unix_channel(str(socket)) as local:
        call: Any = local.stream_stream(method)()
        await call.write(b"\x3a\x00")
        services = await call.read()
        call.cancel()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        remote: Any = plane.channel.stream_stream(method)()
        await remote.write(b"\x3a\x00")
        await remote.read()
    assert b"arw.v1.RuntimeService" in services
    assert socket.stat().st_mode & 0o777 == 0o600
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_an_agent_that_never_reads_is_cut_and_hears_why_once_it_reads(plane: RunningPlane) -> None:
    agent = await plane.agent("n1")
    await agent.ack(await agent.hear_batch())
    # Far more than the window of an HTTP/2 stream: the writer gets stuck.
    await plane.declare(*(f"r{number}" for number in range(24)), bulk=15)
    await plane.plane.sessions.left(timedelta(seconds=15))
    assert not len(plane.plane.sessions)
    assert await still_answers(plane)
    error = await agent.ended()
    assert error is not None
    assert refusal_of(error).remote_reason == "UNAVAILABLE"
    await agent.hang_up()


async def test_a_log_goes_from_the_node_to_its_reader_and_ends_with_either(plane: RunningPlane) -> None:
    agent = await plane.agent("n1")
    await agent.ack(await agent.hear_batch())
    await plane.declare("r1")
    await agent.ack(await agent.hear_batch())
    reading = plane.runtimes.StreamLogs(StreamLogsRequest(name="r1", follow=True))
    asked = (await agent.hear("log_request")).log_request
    async with agent.credentials.channel() as channel:
        push = AgentServiceStub(channel).PushLogs()
        await push.write(PushLogsRequest(subscription=asked.subscription, incarnation=1, data=b"hello"))
        first = await reading.read()
        reading.cancel()
        await asyncio.wait_for(push.wait_for_connection(), 5 * SLACK)
        ended = await asyncio.wait_for(push.code(), 5 * SLACK)
    assert asked.instance == "nodes/n1/instances/r1"
    assert first.data == b"hello"
    assert ended is grpc.StatusCode.OK
    await agent.hang_up()


async def test_a_log_that_nobody_asked_for_is_refused(plane: RunningPlane) -> None:
    agent = await plane.agent("n1")
    async with agent.credentials.channel() as channel:
        push = AgentServiceStub(channel).PushLogs()
        await push.write(PushLogsRequest(subscription="guessed", data=b"x"))
        await push.done_writing()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await push
    assert refusal_of(caught.value).remote_reason == "NOT_FOUND"
    await agent.hang_up()


async def test_agents_that_hang_up_at_any_moment_hurt_nobody(plane: RunningPlane) -> None:
    credentials = [await plane.join(f"n{number}") for number in range(4)]

    async def come_and_go(number: int, turn: int) -> None:
        agent = ScriptedAgent(credentials[number])
        await agent.dial()
        await agent.greet()
        if turn % 2:
            await agent.hear()
        await asyncio.sleep(turn % 5 / 1000)
        await agent.hang_up()

    for turn in range(25):
        await asyncio.gather(*(come_and_go(number, turn) for number in range(4)))
    assert await still_answers(plane)
