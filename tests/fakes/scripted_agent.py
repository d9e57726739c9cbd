"""A node agent that says exactly what a test tells it to, over a real mutual-TLS channel."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import Any

import grpc

from arw.v1 import (
    accelerator_pb2,
    enrollment_service_pb2,
    enrollment_service_pb2_grpc,
    node_pb2,
    session_pb2,
)
from arw.v1 import agent_service_pb2 as pb
from arw.v1.agent_service_pb2_grpc import AgentServiceStub
from tests.fakes.patience import SLACK
from wire.channel import secure_channel
from wire.credentials import certificate_pem, csr_der, key_pem, new_key

PATIENCE = 10.0 * SLACK


@dataclass(frozen=True)
class Credentials:
    node: str
    """ "nodes/{node}"."""
    key: bytes
    chain: bytes
    ca: bytes
    address: str

    def channel(self) -> grpc.aio.Channel:
        tls = grpc.ssl_channel_credentials(self.ca, self.key, self.chain)
        return secure_channel(self.address, tls)


async def enrol(address: str, ca_pem: bytes, token: str, wish: str = "", key: Any = None) -> Any:
    """The whole EnrollResponse and the key that it is for."""
    key = key or new_key()
    async with secure_channel(address, grpc.ssl_channel_credentials(ca_pem)) as channel:
        stub = enrollment_service_pb2_grpc.EnrollmentServiceStub(channel)
        request = enrollment_service_pb2.EnrollRequest(
            join_token=".".join(token.split(".")[:2]),
            csr=csr_der(key),
            machine_id_hash=hashlib.sha256(b"machine").hexdigest(),
            requested_node_id=wish,
        )
        return await stub.Enroll(request, timeout=PATIENCE), key


def credentials_of(answer: Any, key: Any) -> Credentials:
    return Credentials(
        answer.node,
        key_pem(key),
        certificate_pem(answer.certificate_chain),
        certificate_pem(answer.trust_bundle),
        answer.grpc_address,
    )


@dataclass
class ScriptedAgent:
    credentials: Credentials
    process_id: str = "process-1"
    epoch: int = 0
    seq: int = 0
    heard: list[session_pb2.ControlMessage] = field(default_factory=list)
    _channel: grpc.aio.Channel | None = None
    _call: Any = None

    async def dial(self) -> None:
        self._channel = self.credentials.channel()
        self._call = AgentServiceStub(self._channel).Connect()
        self.epoch = self.seq = 0

    async def open(self, **hello: Any) -> session_pb2.ControlMessage:
        """Dial and say Hello; returns the first answer."""
        await self.dial()
        await self.greet(**hello)
        answer = await self.hear()
        self.epoch = answer.session_epoch
        return answer

    async def greet(self, **changes: Any) -> None:
        hello = {
            "node": self.credentials.node,
            "process_id": self.process_id,
            "installation_id": "installation-1",
            "boot_id": "boot-1",
            "protocol_min": 1,
            "protocol_max": 1,
            "capabilities": ["desired.delta/1", "logs.push/1"],
            "inventory": node_pb2.NodeInventory(
                os="linux",
                arch="x86_64",
                cpu_cores=2,
                memory_bytes=2**34,
                accelerators=[accelerator_pb2.Accelerator(id="cpu", kind=accelerator_pb2.ACCELERATOR_KIND_CPU)],
                engines=[node_pb2.Engine(adapter="llama.cpp", path="/opt/engine", sha256="ab" * 32, version="1")],
            ),
        }
        await self.say(hello=session_pb2.Hello(**{**hello, **changes}))

    async def say(self, **body: Any) -> None:
        self.seq += 1
        await self.say_raw(session_pb2.AgentMessage(seq=self.seq, session_epoch=self.epoch, **body))

    async def say_raw(self, message: session_pb2.AgentMessage) -> None:
        await self._call.write(pb.ConnectRequest(message=message))

    async def hear(self, kind: str = "") -> session_pb2.ControlMessage:
        """The next message, or the next of a kind; what comes before it is kept in `heard`."""
        async with asyncio.timeout(PATIENCE):
            while True:
                answer = await self._call.read()
                if answer is grpc.aio.EOF:
                    raise EOFError(f"the stream ended: {await self._call.code()}")
                message: session_pb2.ControlMessage = answer.message
                self.heard.append(message)
                if not kind or message.WhichOneof("body") == kind:
                    return message

    async def hear_batch(self) -> session_pb2.DesiredBatch:
        return (await self.hear("desired_batch")).desired_batch

    async def ack(self, batch: session_pb2.DesiredBatch, *problems: session_pb2.ResourceProblem) -> None:
        await self.say(
            desired_ack=session_pb2.DesiredAck(
                nonce=batch.nonce,
                desired_revision=batch.to_revision,
                desired_digest=batch.digest_after,
                problems=problems,
            )
        )

    async def refusal(self) -> session_pb2.Refusal:
        return (await self.hear("refusal")).refusal

    async def ended(self) -> grpc.aio.AioRpcError | None:
        """The error that the stream ended with; None for a good end."""
        try:
            async with asyncio.timeout(PATIENCE):
                while await self._call.read() is not grpc.aio.EOF:
                    pass
        except grpc.aio.AioRpcError as error:
            return error
        return None

    @property
    def call(self) -> Any:
        return self._call

    async def hang_up(self) -> None:
        if self._call is not None:
            self._call.cancel()
        if self._channel is not None:
            await self._channel.close()
