# ruff: noqa: N802 - the contract names these methods
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography import x509

from arw.v1 import enrollment_service_pb2 as pb
from arw.v1.enrollment_service_pb2_grpc import EnrollmentServiceServicer
from control_plane.api.rate_limit import FailedTries
from control_plane.domain.admission import Presented
from control_plane.domain.errors import CertificateRevoked, CertificateUnknown, RateLimited, StorageUnavailable
from control_plane.domain.ids import NodeId, TokenId, resource_name
from control_plane.domain.node import Standing
from control_plane.domain.problem import Problem
from control_plane.messages.problems import problem_to_proto
from control_plane.messages.times import duration_to_proto, time_to_proto
from control_plane.use_cases.diagnose_credential import DiagnoseCredential
from control_plane.use_cases.enroll_node import EnrollNode, Enrolment
from control_plane.use_cases.ports import CertificateAuthority, Clock, Store, Transaction
from wire.credentials import Role, identity_of, issuer_id, serial_hex
from wire.refusal import Refusal

MAX_CERTIFICATE_BYTES = 16 * 1024
MAX_WORD = 4096


class Trust(Protocol):
    """The authorities of this control plane, those revoked among them."""

    def knows(self, certificate: x509.Certificate) -> bool:
        """Whether one of them signed it."""

    def check_issuer(self, issuer: str) -> None:
        """CertificateRevoked when the authority of this id counts no more."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What enrolment needs beside its use cases."""

    authority: CertificateAuthority
    trust: Trust
    grpc_address: Callable[[], str]
    """What a joined agent dials."""
    tries: FailedTries
    address_of_peer: Callable[[str], str]
    """Whose call it is, by grpc's word for its peer."""
    clock: Clock
    store: Store
    open_approvals: int = 20


class EnrollmentServicer(EnrollmentServiceServicer):
    def __init__(self, enroll: EnrollNode, diagnose: DiagnoseCredential, desk: Desk) -> None:
        self._enroll = enroll
        self._diagnose = diagnose
        self._desk = desk

    async def Enroll(self, request: pb.EnrollRequest, context: Any) -> pb.EnrollResponse:
        address = self._address(context)
        try:
            await self._check_room(request)
            enrolment = await self._enroll(
                request.join_token,
                request.csr,
                machine_id_hash=request.machine_id_hash[:MAX_WORD],
                wish=request.requested_node_id,
            )
        except StorageUnavailable:
            raise
        except Refusal:
            self._desk.tries.failed(address)
            raise
        return self._answer(enrolment)

    async def DiagnoseCredential(
        self, request: pb.DiagnoseCredentialRequest, context: Any
    ) -> pb.DiagnoseCredentialResponse:
        address = self._address(context)
        presented = self._presented(request.certificate)
        if presented is None:
            self._desk.tries.failed(address)
            problem: Problem | None = _unknown()
        else:
            problem = self._of_issuer(presented) or await self._diagnose(presented)
        now = time_to_proto(self._desk.clock.now())
        return pb.DiagnoseCredentialResponse(problem=problem_to_proto(problem), server_time=now)

    def _of_issuer(self, presented: Presented) -> Problem | None:
        try:
            self._desk.trust.check_issuer(presented.issuer)
        except CertificateRevoked as refusal:
            return Problem.of(refusal)
        return None

    def _address(self, context: Any) -> str:
        """RateLimited when too many tries from there failed."""
        address = self._desk.address_of_peer(context.peer())
        self._desk.tries.check(address)
        return address

    async def _check_room(self, request: pb.EnrollRequest) -> None:
        """Machines that wait for an operator are few, so that nobody fills the list."""
        token, _, _ = request.join_token.partition(".")
        key = self._desk.authority.key_of(request.csr)
        waiting = await self._desk.store.read(lambda tx: _waiting(tx, TokenId(token), key))
        if waiting >= self._desk.open_approvals:
            raise RateLimited(f"{waiting} machines wait for approval already.", "Approve or revoke some of them first.")

    def _answer(self, enrolment: Enrolment) -> pb.EnrollResponse:
        issued = enrolment.certificate
        return pb.EnrollResponse(
            node=resource_name("nodes", enrolment.node),
            certificate_chain=issued.chain if issued else (),
            trust_bundle=self._desk.authority.trust_bundle(),
            poll_after=duration_to_proto(enrolment.poll_after),
            grpc_address=self._desk.grpc_address(),
            trust_domain=self._desk.authority.trust_domain,
        )

    def _presented(self, der: bytes) -> Presented | None:
        """What a node's certificate of ours says; None for anything else."""
        try:
            certificate = x509.load_der_x509_certificate(der[:MAX_CERTIFICATE_BYTES])
            identity = identity_of(certificate)
        except ValueError:
            return None
        if identity.role is not Role.NODE or not self._desk.trust.knows(certificate):
            return None
        ends, issuer = certificate.not_valid_after_utc, issuer_id(certificate)
        return Presented(NodeId(identity.name), serial_hex(certificate), ends, issuer)


def _waiting(tx: Transaction, token: TokenId, key_sha256: str) -> int:
    """How many stand before this one; 0 when it waits already, or need not wait."""
    row = tx.join_tokens.get(token)
    if row is None or not row.requires_approval:
        return 0
    keys = [node.public_key_sha256 for node in tx.nodes.all() if node.standing is Standing.WAITING_FOR_APPROVAL]
    return 0 if key_sha256 in keys else len(keys)


def _unknown() -> Problem:
    return Problem.of(
        CertificateUnknown(
            "This certificate was not issued to a node by this control plane.", "Join again with a new join token."
        )
    )
