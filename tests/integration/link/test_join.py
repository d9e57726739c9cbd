"""Joining and renewing over real TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from arw.v1 import enrollment_service_pb2
from control_plane.domain.errors import TokenUsed
from node_agent.domain.errors import JoinFailed
from node_agent.identity.credentials import NodeCredentials
from node_agent.identity.enrolment import Joining, join
from node_agent.identity.files import IdentityFiles
from node_agent.identity.join_token import JoinToken
from node_agent.identity.renewal import Renewal
from tests.fakes.agent_port import AgentPort, seconds, serving
from tests.fakes.certificates import Issuer
from tests.fakes.patience import SLACK
from wire.machine_id import machine_id_hash
from wire.refusal import Refusal


@pytest.fixture
async def enrollment(port: AgentPort) -> AsyncIterator[int]:
    async with serving(port) as (_, address):
        yield int(address.rpartition(":")[2])


def joining(issuer: Issuer, at: int, *, force: bool = False) -> Joining:
    token = JoinToken.parse(f"t0ken.s3cr3ts3cr3t.{issuer.pin}")
    return Joining("127.0.0.1", at, token, wished_name="n1", force=force)


def nothing_in(directory: Path) -> bool:
    return not list(directory.iterdir())


async def test_joining_writes_an_identity(issuer: Issuer, port: AgentPort, enrollment: int, tmp_path: Path) -> None:
    files = IdentityFiles(tmp_path)
    identity = await join(joining(issuer, enrollment), files, pytest.fail)
    assert identity == files.identity()
    assert (identity.node, identity.grpc_address, identity.trust_domain) == ("n1", "127.0.0.1:7443", "td")
    assert identity.enrollment_address == f"127.0.0.1:{enrollment}"
    assert files.current().leaf.issuer == issuer.certificate.subject
    (request,) = port.enrolled
    assert (request.join_token, request.requested_node_id) == ("t0ken.s3cr3ts3cr3t", "n1")
    assert request.machine_id_hash == machine_id_hash()


async def test_another_authority_gets_to_see_nothing(port: AgentPort, enrollment: int, tmp_path: Path) -> None:
    expected = Issuer.make()
    with pytest.raises(JoinFailed) as refused:
        await join(joining(expected, enrollment), IdentityFiles(tmp_path), pytest.fail)
    assert expected.pin in refused.value.text
    assert port.issuer.pin in refused.value.text
    assert not port.enrolled
    assert nothing_in(tmp_path)


async def test_showing_the_right_authority_without_its_key_is_not_enough(issuer: Issuer, tmp_path: Path) -> None:
    """In between sits someone who copied the CA's public certificate into the chain of a key of its own."""
    thief = Issuer.make()
    false_port = AgentPort(FalseChain(thief.key, thief.certificate, thief.identity, issuer.ca_pem))
    async with serving(false_port) as (_, address):
        with pytest.raises(JoinFailed) as refused:
            at = int(address.rpartition(":")[2])
            await join(joining(issuer, at), IdentityFiles(tmp_path), pytest.fail)
    assert "cannot prove" in refused.value.text
    assert not false_port.enrolled


class FalseChain(Issuer):
    """Signs with its own key and shows another's certificate beside."""

    def __init__(self, key: object, certificate: object, identity: object, shown: bytes) -> None:
        super().__init__(key, certificate, identity)  # type: ignore[arg-type]
        object.__setattr__(self, "shown", shown)

    def server(self) -> tuple[bytes, bytes]:
        key, chain = super().server()
        leaf = chain.split(b"-----END CERTIFICATE-----\n")[0] + b"-----END CERTIFICATE-----\n"
        return key, leaf + self.shown  # type: ignore[attr-defined]


async def test_a_used_token_is_refused_in_the_control_planes_words(
    issuer: Issuer, port: AgentPort, enrollment: int, tmp_path: Path
) -> None:
    port.script.enroll = refuse_as_used
    with pytest.raises(JoinFailed) as refused:
        await join(joining(issuer, enrollment), IdentityFiles(tmp_path), pytest.fail)
    assert (refused.value.text, refused.value.remedy) == ("This token was used.", "Make a new one.")
    assert refused.value.metadata["reason"] == "TOKEN_USED"
    assert nothing_in(tmp_path)


def refuse_as_used(_request: enrollment_service_pb2.EnrollRequest) -> enrollment_service_pb2.EnrollResponse:
    refusal: Refusal = TokenUsed("This token was used.", "Make a new one.")
    raise refusal


async def test_approval_is_waited_for_and_said_once(
    issuer: Issuer, port: AgentPort, enrollment: int, tmp_path: Path
) -> None:
    def after_three(request: enrollment_service_pb2.EnrollRequest) -> enrollment_service_pb2.EnrollResponse:
        if len(port.enrolled) < 3:
            return enrollment_service_pb2.EnrollResponse(node="nodes/n1", poll_after=seconds(0.1))
        return port.admitted(request)

    port.script.enroll = after_three
    told: list[str] = []
    await join(joining(issuer, enrollment), IdentityFiles(tmp_path), told.append)
    assert len(told) == 1
    assert "arwctl nodes approve n1" in told[0]
    assert len({request.csr for request in port.enrolled}) == 1


async def test_joining_twice_needs_force(issuer: Issuer, enrollment: int, files: IdentityFiles) -> None:
    before = files.identity()
    with pytest.raises(JoinFailed, match="already joined as n1"):
        await join(joining(issuer, enrollment), files, pytest.fail)
    assert files.identity() == before
    await join(joining(issuer, enrollment, force=True), files, pytest.fail)
    assert files.identity().installation_id != before.installation_id


async def test_a_certificate_for_another_key_is_not_written(
    issuer: Issuer, port: AgentPort, enrollment: int, tmp_path: Path
) -> None:
    _, other = issuer.node("n1")

    def anothers(request: enrollment_service_pb2.EnrollRequest) -> enrollment_service_pb2.EnrollResponse:
        answer = port.admitted(request)
        del answer.certificate_chain[:]
        answer.certificate_chain.append(issuer.ca_der)
        return answer

    assert other
    port.script.enroll = anothers
    with pytest.raises(JoinFailed, match="another key"):
        await join(joining(issuer, enrollment), IdentityFiles(tmp_path), pytest.fail)
    assert nothing_in(tmp_path)


async def test_a_certificate_is_renewed_hourly_until_the_control_plane_answers(
    issuer: Issuer, port: AgentPort, files: IdentityFiles
) -> None:
    first = files.current().leaf.serial_number
    async with serving(port) as (address, _):
        pass
    naps: list[float] = []
    tried, renewed = asyncio.Event(), asyncio.Event()

    async def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            tried.set()
        await asyncio.sleep(0.01)

    def later() -> datetime:
        return datetime.now(UTC) + timedelta(hours=17)

    renewal = Renewal(files, NodeCredentials(files, later), address, renewed.set, later, lambda: 0.5, nap)
    task = asyncio.get_running_loop().create_task(renewal.run())
    try:
        async with asyncio.timeout(10 * SLACK):
            await tried.wait()
            assert files.candidate() is None
            async with serving(port, address):
                await renewed.wait()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert naps[:3] == pytest.approx([3600] * 3, abs=10)
    assert files.candidate() is not None
    assert files.current().leaf.serial_number == first
    assert port.renewals == 1
