from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from google.protobuf.duration_pb2 import Duration

from arw.v1 import enrollment_service_pb2, node_pb2, problem_pb2
from arw.v1.enrollment_service_pb2_grpc import EnrollmentServiceStub
from arw.v1.node_service_pb2 import ApproveNodeRequest, GetNodeRequest, RevokeNodeRequest
from control_plane.domain.ids import NodeId
from control_plane.trust.authority import EmbeddedAuthority, Lifetimes
from tests.fakes.clock import SetClock
from tests.fakes.running_plane import RunningPlane, running_plane
from tests.fakes.scripted_agent import ScriptedAgent, credentials_of, enrol
from wire.channel import secure_channel
from wire.credentials import certificate_pem, csr_der, identity_of, key_pem, new_key, pin
from wire.error_status import refusal_of


async def refused(plane: RunningPlane, token: str, wish: str = "n1") -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await enrol(plane.address("enrollment"), plane.ca_pem, token, wish)
    return refusal_of(caught.value).remote_reason


async def diagnosed(plane: RunningPlane, der: bytes) -> problem_pb2.Problem:
    tls = grpc.ssl_channel_credentials(plane.ca_pem)
    async with secure_channel(plane.address("enrollment"), tls) as channel:
        request = enrollment_service_pb2.DiagnoseCredentialRequest(certificate=der)
        return (await EnrollmentServiceStub(channel).DiagnoseCredential(request)).problem


async def test_a_token_gives_one_machine_a_certificate_with_only_its_own_name(plane: RunningPlane) -> None:
    answer, _ = await enrol(plane.address("enrollment"), plane.ca_pem, await plane.token(), "n1")
    leaf = x509.load_der_x509_certificate(answer.certificate_chain[0])
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert answer.node == "nodes/n1"
    assert list(names) == [x509.UniformResourceIdentifier(f"arw://{answer.trust_domain}/nodes/n1")]
    assert answer.certificate_chain[1:] == answer.trust_bundle
    assert answer.grpc_address == plane.address("grpc")


async def test_the_pasted_token_ends_with_the_pin_of_the_authority(plane: RunningPlane) -> None:
    token = await plane.token()
    authority = x509.load_pem_x509_certificate(plane.ca_pem)
    assert token.split(".")[2] == pin(authority)


async def test_a_used_token_lets_nobody_else_in(plane: RunningPlane) -> None:
    token = await plane.token()
    await enrol(plane.address("enrollment"), plane.ca_pem, token, "n1")
    assert await refused(plane, token, "n2") == "TOKEN_USED"


async def test_the_same_machine_may_repeat_its_call(plane: RunningPlane) -> None:
    token, key = await plane.token(), new_key()
    first, _ = await enrol(plane.address("enrollment"), plane.ca_pem, token, "n1", key)
    again, _ = await enrol(plane.address("enrollment"), plane.ca_pem, token, "n1", key)
    assert first.node == again.node
    agent = ScriptedAgent(credentials_of(again, key))
    assert (await agent.open()).HasField("welcome")
    await agent.hang_up()


async def test_an_expired_token_says_so(plane: RunningPlane) -> None:
    token = await plane.token(ttl=Duration(nanos=1_000_000))
    await asyncio.sleep(0.01)
    assert await refused(plane, token) == "TOKEN_EXPIRED"


async def test_two_machines_with_one_token_never_both_win(plane: RunningPlane) -> None:
    for turn in range(4):
        token = await plane.token()
        tries = [enrol(plane.address("enrollment"), plane.ca_pem, token, f"n{turn}-{who}") for who in ("a", "b")]
        results = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(isinstance(result, tuple) for result in results) == 1


async def test_the_sixth_wrong_try_within_a_minute_is_turned_away(plane: RunningPlane) -> None:
    reasons = [await refused(plane, "no.such") for _ in range(6)]
    assert reasons == ["TOKEN_INVALID"] * 5 + ["RATE_LIMITED"]


async def test_a_machine_that_needs_approval_waits_until_it_has_it(plane: RunningPlane) -> None:
    token, key = await plane.token(requires_approval=True), new_key()
    waiting, _ = await enrol(plane.address("enrollment"), plane.ca_pem, token, "n1", key)
    await plane.nodes.ApproveNode(ApproveNodeRequest(name="nodes/n1"))
    admitted, _ = await enrol(plane.address("enrollment"), plane.ca_pem, token, "n1", key)
    assert not waiting.certificate_chain
    assert waiting.HasField("poll_after")
    assert admitted.certificate_chain


async def test_the_secret_of_a_token_never_reaches_the_log(plane: RunningPlane) -> None:
    with structlog.testing.capture_logs() as logged:
        token = await plane.token()
        await refused(plane, token, wish="NOT VALID")
        await enrol(plane.address("enrollment"), plane.ca_pem, token, "n1")
    assert logged
    assert token.split(".")[1] not in str(logged)


async def test_what_is_wrong_with_a_certificate_can_be_asked(plane: RunningPlane) -> None:
    good = await plane.join("n1")
    leaf = x509.load_pem_x509_certificates(good.chain)[0]
    der = leaf.public_bytes(serialization.Encoding.DER)
    fine = await diagnosed(plane, der)
    await plane.nodes.RevokeNode(RevokeNodeRequest(name="nodes/n1"))
    revoked = await diagnosed(plane, der)
    garbage = await diagnosed(plane, b"garbage")

    assert identity_of(leaf).name == "n1"
    assert fine.reason == problem_pb2.REASON_UNSPECIFIED
    assert revoked.reason == problem_pb2.REASON_CERTIFICATE_REVOKED
    assert garbage.reason == problem_pb2.REASON_CERTIFICATE_UNKNOWN


async def test_a_certificate_of_another_authority_is_not_let_in_and_named_when_asked(
    plane: RunningPlane, tmp_path: Path
) -> None:
    other = EmbeddedAuthority.open(tmp_path, plane.on.clock, Lifetimes())
    key = new_key()
    issued = other.issue_node(csr_der(key), NodeId("n1"))
    mine = await plane.join("n1")
    foreign = ScriptedAgent(replace(mine, key=key_pem(key), chain=certificate_pem(issued.chain)))
    await foreign.dial()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await foreign.greet()
        await foreign.hear()
    await foreign.hang_up()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert (await diagnosed(plane, issued.chain[0])).reason == problem_pb2.REASON_CERTIFICATE_UNKNOWN


async def test_a_stream_is_cut_when_its_certificate_expires(state: Path) -> None:
    clock = SetClock()
    async with running_plane(state, clock=clock) as plane:
        agent = await plane.agent("n1")
        clock.by = plane.on.timers.node_certificate
        refusal = await agent.refusal()
        error = await agent.ended()
        await agent.hang_up()
        assert refusal.problem.reason == problem_pb2.REASON_CERTIFICATE_EXPIRED
        assert error is not None
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        node = (await plane.nodes.GetNode(GetNodeRequest(name="nodes/n1"))).node
        assert node.state in (node_pb2.NODE_STATE_ONLINE, node_pb2.NODE_STATE_OFFLINE)
