"""What a node may say and to whom: everything it names is checked against its certificate."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import grpc
import pytest
from cryptography import x509
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from arw.v1 import (
    agent_service_pb2,
    enrollment_service_pb2,
    instance_pb2,
    model_service_pb2,
    node_service_pb2,
    problem_pb2,
    runtime_service_pb2,
    session_pb2,
    state_service_pb2,
)
from arw.v1.agent_service_pb2_grpc import AgentServiceStub
from arw.v1.node_service_pb2 import GetNodeRequest
from tests.fakes.running_plane import RunningPlane
from tests.fakes.scripted_agent import ScriptedAgent
from wire.channel import secure_channel
from wire.credentials import csr_der, identity_of, new_key
from wire.error_status import refusal_of

FOR_OPERATORS = (node_service_pb2, runtime_service_pb2, model_service_pb2, state_service_pb2)
FOR_NODES = (agent_service_pb2,)
REAL, UNREAL = "n2", "no-such-node"
"""A node that exists and one that does not; neither is the caller."""


def methods(*files: ModuleType) -> Iterator[MethodDescriptor]:
    for file in files:
        for service in file.DESCRIPTOR.services_by_name.values():
            yield from service.methods


def path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def filled(method: MethodDescriptor, word: str) -> Message:
    """A request whose every string is this name."""
    request: Message = GetMessageClass(method.input_type)()
    for field in method.input_type.fields:
        if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated:
            setattr(request, field.name, word)
    return request


async def called(channel: grpc.aio.Channel, method: MethodDescriptor, request: Message) -> tuple[str, str, str]:
    """(code, reason, text) of the refusal; a method that answers says OK."""
    serializer = type(request).SerializeToString
    shape = "stream" if method.client_streaming else "unary", "stream" if method.server_streaming else "unary"
    open_call: Any = getattr(channel, "_".join(shape))(path(method), request_serializer=serializer)
    call = open_call() if method.client_streaming else open_call(request, timeout=10)
    try:
        if method.client_streaming:
            await call.write(request)
            await call.done_writing()
        answer = await (call.read() if method.server_streaming else call)
    except grpc.aio.AioRpcError as error:
        refusal = refusal_of(error)
        return error.code().name, refusal.remote_reason, refusal.text
    return "OK" if answer is not grpc.aio.EOF else "EOF", "", ""


async def test_t7_a_node_that_calls_as_an_operator_learns_not_even_what_exists(plane: RunningPlane) -> None:
    await plane.join(REAL)
    me = await plane.join("n1")
    names = ["", "nodes/n1", f"nodes/{REAL}", f"nodes/{UNREAL}", f"nodes/{REAL}/instances/r1", "joinTokens/x", "../n2"]
    async with me.channel() as channel:
        for method in methods(*FOR_OPERATORS):
            answers = {await called(channel, method, filled(method, name)) for name in names}
            assert {answer[:2] for answer in answers} == {("PERMISSION_DENIED", "PERMISSION_DENIED")}, path(method)
            assert len(answers) == 1, path(method)


def report(name: str) -> session_pb2.ObservedReport:
    instance = instance_pb2.Instance(name=name, state=instance_pb2.INSTANCE_STATE_READY)
    return session_pb2.ObservedReport(observed_seq=1, full=True, instances=[instance])


def gone(name: str) -> session_pb2.ObservedReport:
    return session_pb2.ObservedReport(observed_seq=1, full=True, gone=[name])


async def test_t7_a_node_that_speaks_of_anothers_instance_is_cut_whether_or_not_it_exists(plane: RunningPlane) -> None:
    await plane.join(REAL)
    agent = ScriptedAgent(await plane.join("n1"))
    others = (f"nodes/{node}/instances/r1" for node in (REAL, UNREAL, "n1x", "n", "n1/instances/r/nodes/n2"))
    for name, body in itertools.product(others, (report, gone)):
        await agent.open()
        await agent.say(observed_report=body(name))
        refusal = await agent.refusal()
        await agent.hang_up()
        assert refusal.problem.reason in {problem_pb2.REASON_NODE_MISMATCH, problem_pb2.REASON_INVALID_ID}, name
    assert not list(plane.plane.fleet.instances())


async def test_t7_a_hello_under_another_name_is_refused_in_the_same_words(plane: RunningPlane) -> None:
    await plane.join(REAL)
    agent = ScriptedAgent(await plane.join("n1"))
    for name in (f"nodes/{REAL}", f"nodes/{UNREAL}", "nodes/N1", "n1", "", "nodes/n1/", "operators/local"):
        await agent.dial()
        await agent.greet(node=name)
        refusal = await agent.refusal()
        await agent.hang_up()
        assert refusal.problem.reason == problem_pb2.REASON_NODE_MISMATCH
        assert refusal.problem.text == "The Hello names another node than the certificate."


async def test_t7_what_a_node_acknowledges_or_renews_never_touches_another(plane: RunningPlane) -> None:
    other, agent = await plane.agent(REAL), await plane.agent("n1")
    before = (await plane.nodes.GetNode(GetNodeRequest(name=f"nodes/{REAL}"))).node
    batch = await agent.hear_batch()
    problem = problem_pb2.Problem(reason=problem_pb2.REASON_INTERNAL, text="harm")
    await agent.ack(
        batch, session_pb2.ResourceProblem(name=f"nodes/{REAL}/instances/r1", generation=1, problem=problem)
    )
    await agent.say(heartbeat=session_pb2.Heartbeat(desired_revision=99))
    await agent.hear("heartbeat_ack")
    async with agent.credentials.channel() as channel:
        renewed = await AgentServiceStub(channel).RenewCertificate(
            agent_service_pb2.RenewCertificateRequest(csr=csr_der(new_key()))
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            push = AgentServiceStub(channel).PushLogs()
            await push.write(agent_service_pb2.PushLogsRequest(subscription=f"nodes/{REAL}", data=b"x"))
            await push.done_writing()
            await push
    assert identity_of(x509.load_der_x509_certificate(renewed.certificate_chain[0])).name == "n1"
    assert refusal_of(caught.value).remote_reason == "NOT_FOUND"
    assert not list(plane.plane.fleet.instances())
    after = (await plane.nodes.GetNode(GetNodeRequest(name=f"nodes/{REAL}"))).node
    assert (after.state, after.applied_revision) == (before.state, before.applied_revision)
    await agent.hang_up()
    await other.hang_up()


async def test_t24_each_port_serves_its_own_methods_to_its_own_callers_only(plane: RunningPlane) -> None:
    node = await plane.join("n1")
    every = list(methods(*FOR_OPERATORS, *FOR_NODES, enrollment_service_pb2))
    bare = secure_channel(plane.address("enrollment"), grpc.ssl_channel_credentials(plane.ca_pem))
    async with node.channel() as as_node, bare as as_nobody:
        for method in every:
            request = filled(method, "x")
            file = method.containing_service.file.name
            from_operator = await called(plane.channel, method, request)
            from_node = await called(as_node, method, request)
            from_nobody = await called(as_nobody, method, request)
            if "agent_service" in file:
                assert from_operator[0] == "PERMISSION_DENIED", path(method)
            elif "enrollment" in file:
                assert {from_operator[0], from_node[0]} == {"UNIMPLEMENTED"}, path(method)
            else:
                assert from_node[0] == "PERMISSION_DENIED", path(method)
            if "enrollment" not in file:
                assert from_nobody[0] == "UNIMPLEMENTED", path(method)
    assert len(every) >= 25


async def test_t24_without_a_certificate_the_main_port_answers_nobody(plane: RunningPlane) -> None:
    bare = secure_channel(plane.address("grpc"), grpc.ssl_channel_credentials(plane.ca_pem))
    async with bare as channel:
        for method in itertools.islice(methods(*FOR_OPERATORS), 3):
            assert (await called(channel, method, filled(method, "x")))[0] == "UNAVAILABLE"
