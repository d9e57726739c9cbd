"""The authority is rotated under real agents and operators, listener by listener and replica by replica."""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from arw.v1 import agent_service_pb2, enrollment_service_pb2
from arw.v1 import authority_service_pb2 as pb
from arw.v1.agent_service_pb2_grpc import AgentServiceStub
from arw.v1.authority_pb2 import TrustReport
from arw.v1.enrollment_service_pb2_grpc import EnrollmentServiceStub
from arw.v1.node_service_pb2 import ListNodesRequest
from arw.v1.problem_pb2 import REASON_CERTIFICATE_REVOKED
from arw.v1.state_service_pb2 import WatchEventsRequest
from arw_client import Context, connect
from arw_client.renewal import follow
from arwctl.checkup import of_control_plane
from node_agent.domain.errors import JoinFailed
from node_agent.identity.first_contact import pinned_ca
from tests.fakes.linked import linked
from tests.fakes.patience import SLACK
from tests.fakes.rotation import Shown, states, until_free, until_ready
from tests.fakes.running_plane import RunningPlane, running_plane
from tests.fakes.scripted_agent import Credentials, ScriptedAgent
from wire.channel import secure_channel
from wire.credentials import CONTROL_PLANE_NAME, bundle_digest, certificate_pem, csr_der, issuer_id, key_pem, new_key
from wire.error_status import refusal_of

pytestmark = pytest.mark.timeout(90)
TRUST = ["desired.delta/1", "trust.bundle/1"]
CUT_S = 2.0 * SLACK
"""The longest that a stream may stand on a revoked authority."""


async def refused(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal_of(caught.value).remote_reason or caught.value.code().name


async def prepared(stub: Any) -> None:
    await stub.PrepareAuthority(pb.PrepareAuthorityRequest())


async def stepped(stub: Any, *, force: bool = False) -> None:
    """Activated and tainted; forced, revoked too."""
    await stub.ActivateAuthority(pb.ActivateAuthorityRequest(force=force))
    await stub.TaintAuthority(pb.TaintAuthorityRequest())
    if force:
        await stub.RevokeAuthority(pb.RevokeAuthorityRequest(force=True))


async def shown_by(plane: RunningPlane, port: str) -> str:
    """Id of the authority whose certificate this port shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection(
        "127.0.0.1", plane.ports[port], ssl=context, server_hostname=CONTROL_PLANE_NAME
    )
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return issuer_id(x509.load_der_x509_certificate(der))


async def test_a_rotation_leaves_nobody_out_and_what_the_old_one_signed_is_refused_in_the_end() -> None:
    async with linked() as (plane, agent):
        before, first = Shown.of(plane), plane.on.authority.id
        events = plane.state.WatchEvents(WatchEventsRequest(after_id=0))
        async with before.authorities(plane) as stub:
            await prepared(stub)
            await until_ready(stub)
            assert await states(stub) == ["active", "prepared"]
            trusting = await before.trusting(plane)
            await stepped(stub)
            assert await states(stub) == ["active", "tainted"]
            shown = [await shown_by(plane, port) for port in ("grpc", "enrollment", "relay")]
            assert set(shown) == {plane.on.authority.id} != {first}
            after = await trusting.renewed(plane)
            await until_free(stub)
        async with after.authorities(plane) as stub:
            await stub.RevokeAuthority(pb.RevokeAuthorityRequest())
            began = time.monotonic()
            assert await states(stub) == ["active", "revoked"]
        async with trusting.authorities(plane) as stub:
            assert await refused(stub.ListAuthorities(pb.ListAuthoritiesRequest())) == "UNAVAILABLE"
        # Connections that are open already stand on what was revoked.
        assert await refused(plane.nodes.ListNodes(ListNodesRequest())) == "CERTIFICATE_REVOKED"
        assert await refused(_to_the_end(events)) == "CERTIFICATE_REVOKED"
        assert time.monotonic() - began < CUT_S
        assert await asyncio.to_thread(agent.until_link, "in_sync")
        assert (await plane.on.store.read(lambda tx: tx.nodes.all()))[0].trust.issuer == plane.on.authority.id


async def _to_the_end(call: Any) -> None:
    async with asyncio.timeout(5 * SLACK):
        while await call.read() is not grpc.aio.EOF:
            pass


async def renewed(agent: Credentials) -> Credentials:
    key = new_key()
    async with agent.channel() as channel:
        request = agent_service_pb2.RenewCertificateRequest(csr=csr_der(key))
        answer = await AgentServiceStub(channel).RenewCertificate(request)
    chain, bundle = certificate_pem(answer.certificate_chain), certificate_pem(answer.trust_bundle)
    return Credentials(agent.node, key_pem(key), chain, bundle, agent.address)


async def test_an_agent_that_knows_no_bundles_is_waited_for_until_it_has_renewed(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as plane:
        old = await plane.agent("old")
        async with Shown.of(plane).authorities(plane) as stub:
            await prepared(stub)
            assert await refused(stub.ActivateAuthority(pb.ActivateAuthorityRequest())) == "IN_USE"
            again = ScriptedAgent(await renewed(old.credentials))
            await again.open()
            await until_ready(stub)
            await stub.ActivateAuthority(pb.ActivateAuthorityRequest())
        last = ScriptedAgent(await renewed(again.credentials))
        assert (await last.open()).WhichOneof("body") == "welcome"


async def test_an_agent_is_told_once_whatever_it_answers_and_not_for_ever(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as plane:
        agent = ScriptedAgent(await plane.join("n1"))
        await agent.open(capabilities=TRUST)
        async with Shown.of(plane).authorities(plane) as stub:
            await prepared(stub)
            told = (await agent.hear("trust_bundle")).trust_bundle
            for _ in range(3):
                await agent.say(trust_report=TrustReport(bundle_digest=b"obstinate"))
            answer = await stub.ListAuthorities(pb.ListAuthoritiesRequest())
            assert list(answer.authorities.unready_nodes) == ["nodes/n1"]
            digest = bytes.fromhex(bundle_digest(told.certificates))
            await agent.say(trust_report=TrustReport(bundle_digest=digest))
            await until_ready(stub)
            with suppress(asyncio.InvalidStateError):  # it is cut off in the middle of it
                for _ in range(100):
                    await agent.say(trust_report=TrustReport(bundle_digest=digest))
        refusal = await agent.refusal()
        assert refusal.problem.text == "The node says time and again whom it trusts."
        bundles = [one for one in agent.heard if one.WhichOneof("body") == "trust_bundle"]
        assert len(bundles) == 1


async def test_who_is_left_out_by_force_is_cut_off_and_told_why(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as plane:
        pin = plane.on.authority.pin
        left = await plane.agent("left")
        async with Shown.of(plane).authorities(plane) as stub:
            await prepared(stub)
            trusting = await Shown.of(plane).trusting(plane)
            await stub.ActivateAuthority(pb.ActivateAuthorityRequest(force=True))
            after = await trusting.renewed(plane)
            await stepped(stub, force=True)
        assert (await left.refusal()).problem.reason == REASON_CERTIFICATE_REVOKED
        async with after.authorities(plane) as stub:
            assert await states(stub) == ["active", "revoked"]
        async with secure_channel(plane.address("enrollment"), grpc.ssl_channel_credentials(after.ca)) as channel:
            leaf = x509.load_pem_x509_certificates(left.credentials.chain)[0]
            request = enrollment_service_pb2.DiagnoseCredentialRequest(certificate=leaf.public_bytes(Encoding.DER))
            answer = await EnrollmentServiceStub(channel).DiagnoseCredential(request)
        assert answer.problem.reason == REASON_CERTIFICATE_REVOKED
        assert "join" in answer.problem.remedy
        with pytest.raises(JoinFailed, match="is not the control plane that made this token") as refusal:
            await asyncio.to_thread(pinned_ca, "127.0.0.1", plane.ports["enrollment"], pin)
        assert "make a new token" in refusal.value.remedy


async def test_a_copy_of_the_context_that_is_used_in_time_is_kept_up_by_the_client(tmp_path: Path) -> None:
    copy = tmp_path / "copy.json"
    async with running_plane(tmp_path) as plane:
        copy.write_text(json.dumps({**plane.context, "grpc_address": plane.address("grpc"), "of_a_newer_version": 1}))
        seen, told = [], []
        async with Shown.of(plane).authorities(plane) as stub:
            for request in ("nothing", "PrepareAuthority", "ActivateAuthority", "RevokeAuthority"):
                if request == "RevokeAuthority":
                    await stub.TaintAuthority(pb.TaintAuthorityRequest())
                if request != "nothing":
                    await getattr(stub, request)(getattr(pb, f"{request}Request")())
                context = Context.load(copy)
                async with connect(context) as client:
                    assert [node async for node in client.nodes.each()] == []
                    await follow(client, copy)
                    found = [one.text for one in await of_control_plane(client, "") if one.check == "authority"]
                    told.append(found)
                kept = Context.load(copy)
                seen.append((kept.ca_pem.count("BEGIN"), _issuer(kept) == plane.on.authority.id))
    assert seen == [(1, True), (2, True), (2, True), (1, True)]
    under_way = "a rotation is under way: its next step is"
    assert told == [[], [f"{under_way} activate"], [f"{under_way} taint"], []]
    assert json.loads(copy.read_bytes())["of_a_newer_version"] == 1
    assert copy.stat().st_mode & 0o777 == 0o600


def _issuer(context: Context) -> str:
    return issuer_id(x509.load_pem_x509_certificates(context.certificate_pem.encode())[0])


async def test_a_step_at_one_replica_is_taken_at_the_others_within_moments(tmp_path: Path, postgres_url: str) -> None:
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text(secrets.token_urlsafe(48))
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(running_plane(tmp_path / name, database=postgres_url, secret=secret))
            for name in ("one", "two")
        ]
        agent = ScriptedAgent(await two.join("n1"))
        await agent.open(capabilities=TRUST)
        async with Shown.of(one).authorities(one) as stub:
            await prepared(stub)
            bundle = (await agent.hear("trust_bundle")).trust_bundle
            assert len(bundle.certificates) == 2
            await stepped(stub, force=True)
            began = time.monotonic()
        assert (await agent.refusal()).problem.reason == REASON_CERTIFICATE_REVOKED
        assert time.monotonic() - began < CUT_S
        for plane in (one, two):
            assert await shown_by(plane, "relay") == one.on.authority.id == two.on.authority.id
