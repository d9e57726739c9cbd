"""A thousand agents that do nothing but keep their streams: Hello, acknowledge, heartbeat."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc

import wire  # noqa: F401 - before grpc's first use: it disarms fork handlers
from arw.v1 import agent_service_pb2 as calls
from arw.v1 import enrollment_service_pb2, session_pb2
from arw.v1.agent_service_pb2_grpc import AgentServiceStub
from arw.v1.enrollment_service_pb2_grpc import EnrollmentServiceStub
from arw.v1.node_pb2 import Engine, NodeInventory
from control_plane.domain.desired import digest
from wire.channel import secure_channel
from wire.credentials import certificate_pem, csr_der, key_pem, new_key

ENGINE = Engine(adapter="llama.cpp", path="/usr/bin/llama-server", sha256="0" * 64, version="light")
INVENTORY = NodeInventory(os="linux", arch="x86_64", cpu_cores=8, memory_bytes=1 << 34, engines=[ENGINE])


@dataclass(frozen=True, slots=True)
class Identity:
    node: str
    key: bytes
    chain: bytes
    ca: bytes
    address: str


async def enrol(address: str, ca: bytes, tokens: Sequence[str]) -> list[Identity]:
    """One identity a token, one after another, each over its own connection as a real agent's."""
    return [await _enrol(address, ca, token) for token in tokens]


async def _enrol(address: str, ca: bytes, token: str) -> Identity:
    key = new_key()
    wanted = enrollment_service_pb2.EnrollRequest(join_token=token.rpartition(".")[0], csr=csr_der(key))
    async with secure_channel(address, grpc.ssl_channel_credentials(ca)) as channel:
        answer = await EnrollmentServiceStub(channel).Enroll(wanted, timeout=30)
    return Identity(answer.node, key_pem(key), certificate_pem(answer.certificate_chain), ca, answer.grpc_address)


class LightAgent:
    """One stream, at whichever replica. `batches` counts what it stored; `stored_at` says when, monotonic."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._addresses: Sequence[str] = (identity.address,)
        self._history, self._revision = "", 0
        self._outbox: asyncio.Queue[session_pb2.AgentMessage | None] = asyncio.Queue()
        self._seq = 0
        self._epoch = 0
        self._rows: dict[str, tuple[int, int]] = {}
        self.welcomed = asyncio.Event()
        self.beats = 0
        """Heartbeats that were answered."""
        self.batches = 0
        self.stored_at = 0.0
        self.connected_at = 0.0
        self.address = identity.address
        self.removed = self.went_back = 0
        """Instances that were taken away, and those of which an older generation came."""

    async def run(self) -> None:
        """Connect again for ever, within half a second, at any replica that is known."""
        while True:
            self.address = random.choice(self._addresses)  # noqa: S311 - spreads load
            try:
                await self._connect()
            except* grpc.aio.AioRpcError:
                self.welcomed.clear()
            await asyncio.sleep(random.uniform(0, 0.5))  # noqa: S311 - spreads load

    def generations(self) -> dict[str, int]:
        """By runtime."""
        return {name.rpartition("/")[2]: generation for name, (generation, _) in self._rows.items()}

    async def _connect(self) -> None:
        who = self._identity
        tls = grpc.ssl_channel_credentials(who.ca, who.key, who.chain)
        self._seq = self._epoch = 0
        self._outbox = asyncio.Queue()
        async with secure_channel(self.address, tls) as channel, asyncio.TaskGroup() as tasks:
            self._say(hello=self._hello())
            call: Any = AgentServiceStub(channel).Connect()
            beside = [tasks.create_task(work) for work in (self._write(call), self._beat())]
            try:
                while (response := await call.read()) is not grpc.aio.EOF:
                    self._heard(response.message)
            finally:
                for task in beside:
                    task.cancel()

    async def _write(self, call: Any) -> None:
        while (message := await self._outbox.get()) is not None:
            try:
                await call.write(calls.ConnectRequest(message=message))
            except asyncio.InvalidStateError:
                # The call is over, which the reader sees too.
                return
        await call.done_writing()

    async def leave(self) -> None:
        """End the stream from our side, so that nothing is cut in the middle."""
        self._outbox.put_nowait(None)

    def _say(self, **body: Any) -> None:
        self._seq += 1
        self._outbox.put_nowait(session_pb2.AgentMessage(seq=self._seq, session_epoch=self._epoch, **body))

    def _hello(self) -> session_pb2.Hello:
        return session_pb2.Hello(
            node=self._identity.node,
            process_id=str(uuid.uuid4()),
            installation_id=self._identity.node,
            boot_id="light",
            agent_version="light",
            protocol_min=1,
            protocol_max=1,
            capabilities=["desired.delta/1", "replicas.many/1"],
            history_id=self._history,
            desired_revision=self._revision,
            desired_digest=digest_of(self._rows) if self._revision else b"",
            inventory=INVENTORY,
        )

    def _heard(self, message: session_pb2.ControlMessage) -> None:
        match message.WhichOneof("body"):
            case "welcome":
                self._epoch = message.session_epoch
                self._period = message.welcome.heartbeat_period.ToTimedelta().total_seconds()
                self._know(message.welcome.replicas)
                if self._history != message.welcome.history_id:
                    self._history, self._revision, self._rows = message.welcome.history_id, 0, {}
                self.connected_at = time.monotonic()
                self.welcomed.set()
                self._say(observed_report=session_pb2.ObservedReport(observed_seq=1, full=True))
            case "heartbeat_ack":
                self.beats += 1
            case "desired_batch":
                self._store(message.desired_batch)
            case "replicas_changed":
                self._know(message.replicas_changed.replicas)
            case _:
                pass

    def _know(self, replicas: Iterable[session_pb2.Replica]) -> None:
        self._addresses = [replica.grpc_address for replica in replicas] or self._addresses

    def _store(self, batch: session_pb2.DesiredBatch) -> None:
        """Whole sets come in one batch here: no node of these has more than a few runtimes."""
        news = {row.name: (row.generation, row.revision) for row in batch.resources}
        gone = {gone.name for gone in batch.removals} | (self._rows.keys() - news.keys() if batch.snapshot else set())
        self.removed += len(gone & self._rows.keys())
        self.went_back += sum(seen > news[name] for name, seen in self._rows.items() if name in news)
        self._rows = {name: row for name, row in (self._rows | news).items() if name not in gone}
        self._revision = batch.to_revision
        stored = digest_of(self._rows)
        ack = session_pb2.DesiredAck(nonce=batch.nonce, desired_revision=batch.to_revision, desired_digest=stored)
        self._say(desired_ack=ack)
        if batch.resources:
            self.batches += 1
            self.stored_at = time.monotonic()

    async def _beat(self) -> None:
        await self.welcomed.wait()
        while True:
            await asyncio.sleep(self._period)
            self._say(heartbeat=session_pb2.Heartbeat(observed_seq=1))


def digest_of(rows: dict[str, tuple[int, int]]) -> bytes:
    return digest((name, generation, revision) for name, (generation, revision) in rows.items())
