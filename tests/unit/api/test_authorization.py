from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2

from arw.v1 import (
    agent_service_pb2,
    authority_service_pb2,
    claim_service_pb2,
    enrollment_service_pb2,
    inference_service_pb2,
    job_service_pb2,
    model_service_pb2,
    node_service_pb2,
    project_service_pb2,
    runtime_service_pb2,
    state_service_pb2,
)
from control_plane.api import authorization
from control_plane.api.authorization import METHODS, Access, Gatekeeper, caller
from control_plane.api.servers import SERVICES
from control_plane.domain.ids import NodeId, OperatorId
from control_plane.domain.node import Node, Standing
from control_plane.domain.operator import Operator
from control_plane.store.memory import MemoryStore
from control_plane.trust.authority import EmbeddedAuthority, Lifetimes
from control_plane.use_cases.authenticate_node import AuthenticateNode
from control_plane.use_cases.authenticate_operator import AuthenticateOperator
from control_plane.use_cases.ports import IssuedCertificate, Transaction
from tests.fakes.clock import FakeClock
from wire.credentials import csr_der, new_key
from wire.refusal import Refusal

FILES: tuple[Any, ...] = (
    agent_service_pb2.DESCRIPTOR,
    authority_service_pb2.DESCRIPTOR,
    claim_service_pb2.DESCRIPTOR,
    enrollment_service_pb2.DESCRIPTOR,
    inference_service_pb2.DESCRIPTOR,
    job_service_pb2.DESCRIPTOR,
    model_service_pb2.DESCRIPTOR,
    node_service_pb2.DESCRIPTOR,
    project_service_pb2.DESCRIPTOR,
    runtime_service_pb2.DESCRIPTOR,
    state_service_pb2.DESCRIPTOR,
)
N1, LOCAL = NodeId("n1"), OperatorId("local")


def methods(files: tuple[Any, ...]) -> Iterator[str]:
    for file in files:
        for service in file.services_by_name.values():
            yield from (f"/{service.full_name}/{method.name}" for method in service.methods)


def test_every_method_of_every_service_has_a_rule_and_no_rule_is_idle() -> None:
    assert set(METHODS) == set(methods((*FILES, health_pb2.DESCRIPTOR)))


def test_no_contract_file_with_a_service_is_forgotten() -> None:
    proto = Path(authorization.__file__).parents[2] / "proto" / "arw" / "v1"
    assert {file.name.rpartition("/")[2] for file in FILES} == {path.name for path in proto.glob("*_service.proto")}
    assert {method.split("/")[1] for method in methods(FILES)} == set(SERVICES)


def test_only_the_services_for_agents_and_strangers_are_open_to_others_than_operators() -> None:
    others = {method.split("/")[1] for method, access in METHODS.items() if access is not Access.OPERATOR}
    assert others == {"arw.v1.AgentService", "arw.v1.EnrollmentService", "grpc.health.v1.Health"}
    openly = {method for method, access in METHODS.items() if access is Access.OPEN}
    assert openly == {"/arw.v1.EnrollmentService/Enroll", "/arw.v1.EnrollmentService/DiagnoseCredential"}


class Gate:
    """One node, one operator, each with a certificate."""

    def __init__(self, directory: Path) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.authority = EmbeddedAuthority.open(directory, self.clock, Lifetimes())
        self.keeper = Gatekeeper(
            self.authority.trust_domain,
            AuthenticateNode(self.store, self.clock),
            AuthenticateOperator(self.store, self.clock),
        )
        self.node = self.authority.issue_node(csr_der(new_key()), N1)
        self.operator = self.authority.issue_operator(csr_der(new_key()), LOCAL)
        self.row = Node(N1, "u", "e", Standing.ADMITTED, certificate_serial=self.node.serial)
        self.operator_row = Operator(LOCAL, "local", "", self.clock.now(), self.operator.serial)

    async def save(self) -> None:
        def change(tx: Transaction) -> None:
            tx.nodes.put(self.row)
            tx.operators.put(self.operator_row)

        await self.store.write(change)

    async def reason(self, access: Access, issued: IssuedCertificate | None) -> str:
        """Why the call is refused; empty when it is not."""
        certificate = x509.load_der_x509_certificate(issued.chain[0]) if issued else None
        try:
            await self.keeper.admit(access, certificate)
        except Refusal as refusal:
            return refusal.reason
        return ""


@pytest.fixture
async def gate(tmp_path: Path) -> Gate:
    made = Gate(tmp_path)
    await made.save()
    return made


async def test_each_role_enters_where_it_belongs_and_nowhere_else(gate: Gate) -> None:
    assert await gate.reason(Access.OPERATOR, gate.operator) == ""
    assert caller.get().name == "operators/local"
    assert await gate.reason(Access.NODE, gate.node) == ""
    assert caller.get().presented.node == "n1"
    assert await gate.reason(Access.OPERATOR, gate.node) == "PERMISSION_DENIED"
    assert await gate.reason(Access.NODE, gate.operator) == "PERMISSION_DENIED"
    assert await gate.reason(Access.NODE_SESSION, gate.operator) == "PERMISSION_DENIED"
    assert await gate.reason(Access.ANY_CERTIFICATE, gate.node) == ""
    assert await gate.reason(Access.ANY_CERTIFICATE, gate.operator) == ""


async def test_without_a_certificate_only_the_open_methods_answer(gate: Gate) -> None:
    assert await gate.reason(Access.OPEN, None) == ""
    assert await gate.reason(Access.OPERATOR, None) == "UNAUTHENTICATED"


async def test_the_servers_own_certificate_is_no_callers(gate: Gate) -> None:
    own = gate.authority.issue_server(csr_der(new_key()), ["localhost"])
    for access in (Access.OPERATOR, Access.NODE, Access.ANY_CERTIFICATE):
        assert await gate.reason(access, own) == "PERMISSION_DENIED"


async def test_expiry_counts_at_each_call(gate: Gate) -> None:
    gate.clock.advance(timedelta(hours=24))
    assert await gate.reason(Access.NODE, gate.node) == "CERTIFICATE_EXPIRED"
    gate.clock.advance(timedelta(days=90))
    assert await gate.reason(Access.OPERATOR, gate.operator) == "CERTIFICATE_EXPIRED"


async def test_revocation_counts_at_each_call(gate: Gate) -> None:
    gate.row = replace(gate.row, standing=Standing.REVOKED)
    gate.operator_row = replace(gate.operator_row, revoked=True)
    await gate.save()
    assert await gate.reason(Access.NODE, gate.node) == "CERTIFICATE_REVOKED"
    assert await gate.reason(Access.OPERATOR, gate.operator) == "CERTIFICATE_REVOKED"


async def test_only_the_active_serial_counts(gate: Gate) -> None:
    other = gate.authority.issue_node(csr_der(new_key()), N1)
    assert await gate.reason(Access.NODE, other) == "CERTIFICATE_NOT_ACTIVE"
    gate.row = replace(gate.row, pending_serial=other.serial)
    await gate.save()
    assert await gate.reason(Access.NODE, other) == ""


async def test_a_certificate_of_another_trust_domain_is_unknown(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = EmbeddedAuthority.open(tmp_path / "other", gate.clock, Lifetimes())
    assert await gate.reason(Access.NODE, other.issue_node(csr_der(new_key()), N1)) == "CERTIFICATE_UNKNOWN"
