"""A control plane's two ports with real TLS and scripted answers, so that it can misbehave on request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.duration_pb2 import Duration

from arw.v1 import (
    agent_service_pb2,
    agent_service_pb2_grpc,
    enrollment_service_pb2,
    enrollment_service_pb2_grpc,
    problem_pb2,
)
from arw.v1 import session_pb2 as pb
from tests.fakes.certificates import Issuer
from tests.fakes.patience import SLACK
from wire.credentials import Identity, Role, peer_certificate
from wire.error_status import ErrorInterceptor
from wire.refusal import Refusal
from wire.server import make_server

PERIOD = timedelta(milliseconds=200)
Context = grpc.aio.ServicerContext[Any, Any]


def seconds(value: float) -> Duration:
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=value))
    return duration


@dataclass(slots=True)
class Script:
    """How the control plane behaves; tests change it while it runs."""

    refuse: pb.Refusal | None = None
    silent: bool = False
    """Heartbeats stay unanswered."""
    mute: bool = False
    """Not even a Welcome."""
    status: Refusal | None = None
    """The call itself fails, typed."""
    diagnosis: problem_pb2.Problem = field(default_factory=problem_pb2.Problem)
    enroll: Callable[[enrollment_service_pb2.EnrollRequest], enrollment_service_pb2.EnrollResponse] | None = None
    certificate_life: timedelta = timedelta(hours=24)
    refused_serials: set[int] = field(default_factory=set)
    replicas: list[str] = field(default_factory=list)
    """grpc addresses, for Welcome."""


class AgentPort(agent_service_pb2_grpc.AgentServiceServicer, enrollment_service_pb2_grpc.EnrollmentServiceServicer):
    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.script = Script()
        self.heard: list[pb.AgentMessage] = []
        self.serials: list[int] = []
        self.logs: list[agent_service_pb2.PushLogsRequest] = []
        self.enrolled: list[enrollment_service_pb2.EnrollRequest] = []
        self.renewals = 0
        self.epoch = 0
        self.changed = asyncio.Condition()
        self._speak: list[asyncio.Queue[pb.ControlMessage]] = []
        self.log_call_over = asyncio.Event()
        self.end_logs = asyncio.Event()

    async def Connect(  # noqa: N802 - grpc's name
        self, requests: AsyncIterator[agent_service_pb2.ConnectRequest], context: Context
    ) -> AsyncIterator[agent_service_pb2.ConnectResponse]:
        await self._note_caller(context)
        queue: asyncio.Queue[pb.ControlMessage] = asyncio.Queue()
        self._speak = [queue]
        reader = asyncio.get_running_loop().create_task(self._read(requests, queue))
        self.epoch += 1
        epoch, seq = self.epoch, 0
        try:
            while True:
                message = await queue.get()
                seq += 1
                message.seq, message.session_epoch = seq, epoch
                yield agent_service_pb2.ConnectResponse(message=message)
                if message.HasField("refusal"):
                    return
        finally:
            reader.cancel()

    async def PushLogs(  # noqa: N802 - grpc's name
        self, requests: AsyncIterator[agent_service_pb2.PushLogsRequest], _context: Context
    ) -> agent_service_pb2.PushLogsResponse:
        reader = asyncio.get_running_loop().create_task(self._collect(requests))
        over = asyncio.get_running_loop().create_task(self.end_logs.wait())
        await asyncio.wait({reader, over}, return_when=asyncio.FIRST_COMPLETED)
        reader.cancel()
        over.cancel()
        self.log_call_over.set()
        return agent_service_pb2.PushLogsResponse()

    async def RenewCertificate(  # noqa: N802 - grpc's name
        self, request: agent_service_pb2.RenewCertificateRequest, _context: Context
    ) -> agent_service_pb2.RenewCertificateResponse:
        self.renewals += 1
        chain = [self._signed(request.csr), self.issuer.ca_der]
        return agent_service_pb2.RenewCertificateResponse(certificate_chain=chain, trust_bundle=[self.issuer.ca_der])

    async def Enroll(  # noqa: N802 - grpc's name
        self, request: enrollment_service_pb2.EnrollRequest, _context: Context
    ) -> enrollment_service_pb2.EnrollResponse:
        self.enrolled.append(request)
        if self.script.enroll:
            return self.script.enroll(request)
        return self.admitted(request)

    async def DiagnoseCredential(  # noqa: N802 - grpc's name
        self, _request: enrollment_service_pb2.DiagnoseCredentialRequest, _context: Context
    ) -> enrollment_service_pb2.DiagnoseCredentialResponse:
        answer = enrollment_service_pb2.DiagnoseCredentialResponse(problem=self.script.diagnosis)
        answer.server_time.GetCurrentTime()
        return answer

    def admitted(self, request: enrollment_service_pb2.EnrollRequest) -> enrollment_service_pb2.EnrollResponse:
        return enrollment_service_pb2.EnrollResponse(
            node="nodes/n1",
            certificate_chain=[self._signed(request.csr), self.issuer.ca_der],
            trust_bundle=[self.issuer.ca_der],
            grpc_address="127.0.0.1:7443",
            trust_domain="td",
        )

    def say(self, message: pb.ControlMessage) -> None:
        for queue in self._speak:
            queue.put_nowait(message)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10 * SLACK), self.changed:
            await self.changed.wait_for(holds)

    def bodies(self, kind: str) -> list[pb.AgentMessage]:
        return [message for message in self.heard if message.WhichOneof("body") == kind]

    async def _note_caller(self, context: Context) -> None:
        certificate = peer_certificate(context)
        assert certificate is not None
        self.serials.append(certificate.serial_number)
        if self.script.status:
            raise self.script.status

    async def _read(
        self, requests: AsyncIterator[agent_service_pb2.ConnectRequest], queue: asyncio.Queue[pb.ControlMessage]
    ) -> None:
        async for request in requests:
            async with self.changed:
                self.heard.append(request.message)
                self.changed.notify_all()
            for answer in self._answers(request.message):
                queue.put_nowait(answer)

    def _answers(self, message: pb.AgentMessage) -> list[pb.ControlMessage]:
        if message.HasField("hello"):
            return self._greeting()
        if message.HasField("heartbeat") and not self.script.silent:
            return [pb.ControlMessage(heartbeat_ack=pb.HeartbeatAck(heartbeat_seq=message.seq))]
        return []

    def _greeting(self) -> list[pb.ControlMessage]:
        if self.script.mute:
            return []
        if self.script.refuse or self.serials[-1] in self.script.refused_serials:
            problem = problem_pb2.Problem(reason=problem_pb2.REASON_CERTIFICATE_NOT_ACTIVE, text="Not this one.")
            return [pb.ControlMessage(refusal=self.script.refuse or pb.Refusal(problem=problem))]
        welcome = pb.Welcome(
            session_epoch=self.epoch,
            history_id="history-1",
            protocol=1,
            heartbeat_period=seconds(PERIOD.total_seconds()),
            replicas=[pb.Replica(grpc_address=address) for address in self.script.replicas],
        )
        return [pb.ControlMessage(welcome=welcome)]

    async def _collect(self, requests: AsyncIterator[agent_service_pb2.PushLogsRequest]) -> None:
        async for request in requests:
            async with self.changed:
                self.logs.append(request)
                self.changed.notify_all()

    def _signed(self, csr: bytes) -> bytes:
        request = x509.load_der_x509_csr(csr)
        uri = x509.UniformResourceIdentifier(Identity("td", Role.NODE, "n1").uri)
        leaf = self.issuer.leaf(request.public_key(), [uri], life=self.script.certificate_life)  # type: ignore[arg-type]
        return leaf.public_bytes(Encoding.DER)


@asynccontextmanager
async def serving(port: AgentPort, address: str = "127.0.0.1:0") -> AsyncIterator[tuple[str, str]]:
    """(mutual-TLS address, enrolment address). Leaving is as abrupt as a crash."""
    key, chain = port.issuer.server()
    mutual = grpc.ssl_server_credentials([(key, chain)], port.issuer.ca_pem, require_client_auth=True)
    server = make_server([ErrorInterceptor()])
    agent_service_pb2_grpc.add_AgentServiceServicer_to_server(port, server)
    enrollment_service_pb2_grpc.add_EnrollmentServiceServicer_to_server(port, server)
    grpc_port = server.add_secure_port(address, mutual)
    enrollment_port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, chain)]))
    await server.start()
    try:
        yield f"127.0.0.1:{grpc_port}", f"127.0.0.1:{enrollment_port}"
    finally:
        await server.stop(None)
