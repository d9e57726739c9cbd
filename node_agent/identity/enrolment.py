"""Joins a control plane: pin, key, request, approval, files."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import grpc
from cryptography.hazmat.primitives.asymmetric import ec

from arw.v1 import enrollment_service_pb2, enrollment_service_pb2_grpc
from node_agent.domain.errors import JoinFailed
from node_agent.identity.files import IdentityFiles, NodeIdentity
from node_agent.identity.first_contact import pinned_ca
from node_agent.identity.issued import Issued, issued_files
from node_agent.identity.join_token import JoinToken
from wire.channel import secure_channel
from wire.credentials import csr_der, new_key
from wire.error_status import refusal_of
from wire.machine_id import machine_id_hash

TIMEOUT_S = 20.0
MAX_POLL_S = 60.0


@dataclass(frozen=True, slots=True)
class Joining:
    host: str
    port: int
    token: JoinToken
    wished_name: str = ""
    force: bool = False

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


async def join(joining: Joining, files: IdentityFiles, progress: Callable[[str], None]) -> NodeIdentity:
    """Enrol this machine and write its identity. JoinFailed tells why not; then nothing was written."""
    if files.joined and not joining.force:
        known = files.identity()
        raise JoinFailed(
            f"This machine has already joined as {known.node} (control plane {known.grpc_address}).",
            "Run `arw-node-agent run`, or join again with --force to give that identity up.",
        )
    ca_pem = await asyncio.to_thread(pinned_ca, joining.host, joining.port, joining.token.pin)
    key = new_key()
    root = grpc.ssl_channel_credentials(root_certificates=ca_pem)
    async with secure_channel(joining.address, root) as channel:
        answer = await _enrolled(enrollment_service_pb2_grpc.EnrollmentServiceStub(channel), joining, key, progress)
    return _written(answer, joining, files, _checked(key, answer))


async def _enrolled(
    stub: enrollment_service_pb2_grpc.EnrollmentServiceAsyncStub,
    joining: Joining,
    key: ec.EllipticCurvePrivateKey,
    progress: Callable[[str], None],
) -> enrollment_service_pb2.EnrollResponse:
    """The control plane's answer, once nobody has to approve any more."""
    request = enrollment_service_pb2.EnrollRequest(
        join_token=joining.token.bearer,
        csr=csr_der(key),
        machine_id_hash=machine_id_hash(),
        requested_node_id=joining.wished_name,
    )
    told = False
    while True:
        try:
            answer = await stub.Enroll(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise _failure(error) from error
        if answer.certificate_chain:
            return answer
        if not told:
            progress(_waiting(answer.node, request.machine_id_hash))
            told = True
        await asyncio.sleep(min(MAX_POLL_S, max(0.1, answer.poll_after.ToTimedelta().total_seconds())))


def _waiting(node: str, machine: str) -> str:
    name = node.removeprefix("nodes/")
    return f"Waiting for approval. An operator runs: arwctl nodes approve {name} (machine {machine[:16]})"


def _checked(key: ec.EllipticCurvePrivateKey, answer: enrollment_service_pb2.EnrollResponse) -> Issued:
    try:
        return issued_files(key, list(answer.certificate_chain), list(answer.trust_bundle))
    except ValueError as error:
        raise JoinFailed(
            f"The control plane's answer cannot be trusted: {error}.", "Report this as a fault of the control plane."
        ) from error


def _written(
    answer: enrollment_service_pb2.EnrollResponse, joining: Joining, files: IdentityFiles, issued: Issued
) -> NodeIdentity:
    identity = NodeIdentity(
        node=answer.node.removeprefix("nodes/"),
        trust_domain=answer.trust_domain,
        grpc_address=answer.grpc_address,
        enrollment_address=joining.address,
        installation_id=str(uuid.uuid4()),
        place=files.here(),
    )
    try:
        files.write(identity, issued.key_pem, issued.chain_pem, issued.ca_pem)
    except OSError as error:
        raise JoinFailed(
            f"The identity could not be written: {error}.", "Make room or choose another --state-dir."
        ) from error
    return identity


def _failure(error: grpc.aio.AioRpcError) -> JoinFailed:
    if "SSL_ERROR_SSL" in (error.details() or ""):
        return JoinFailed(
            "The server shows the right CA but cannot prove that it belongs to it. The token was not sent.",
            "Check the address: someone may be in between.",
        )
    refusal = refusal_of(error)
    remedy = refusal.remedy or "Check that the control plane runs, then try again; the token is still good."
    return JoinFailed(refusal.text, remedy, reason=refusal.remote_reason)
