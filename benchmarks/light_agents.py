"""Thousands of agents that do nothing but keep their streams: Hello, acknowledge, heartbeat.

Each has its own certificate, connection and stream, and says what a real one would. What it says goes over a stream
that costs a fraction of grpc's, so that it is the server that is measured.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from google.protobuf.duration_pb2 import Duration

from arw.v1 import agent_service_pb2 as calls
from arw.v1 import session_pb2
from arw.v1.instance_pb2 import INSTANCE_STATE_READY, Instance
from arw.v1.node_pb2 import Engine, NodeInventory
from benchmarks.identities import Identity
from benchmarks.light_stream import LightStream
from control_plane.domain.desired import digest

CONNECT = "/arw.v1.AgentService/Connect"
ENGINE = Engine(adapter="llama.cpp", path="/usr/bin/llama-server", sha256="0" * 64, version="light")
WELCOMED_WITHIN_S = 10
INVENTORY = NodeInventory(os="linux", arch="x86_64", cpu_cores=8, memory_bytes=1 << 34, engines=[ENGINE])


class LightAgent:
    """One stream, at whichever replica. `batches` counts what it stored; `stored_at` says when, monotonic."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._addresses: Sequence[str] = (identity.address,)
        self._history, self._revision = "", 0
        self._stream: LightStream | None = None
        self._timer: asyncio.TimerHandle | None = None
        """The next heartbeat; before Welcome, when to give up."""
        self._seq = 0
        self._epoch = 0
        self._observed = 0
        """The last report."""
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
            with suppress(OSError):
                await self._connect()
            self.welcomed.clear()
            await asyncio.sleep(random.uniform(0, 0.5))  # noqa: S311 - spreads load

    def generations(self) -> dict[str, int]:
        """By runtime."""
        return {name.rpartition("/")[2]: generation for name, (generation, _) in self._rows.items()}

    async def _connect(self) -> None:
        """Until the stream ends. OSError when there is none."""
        self._seq = self._epoch = 0
        stream = self._stream = await LightStream.open(self.address, self._identity.tls, CONNECT, self._heard)
        try:
            self._timer = asyncio.get_running_loop().call_later(WELCOMED_WITHIN_S, stream.close)
            self._say(hello=self._hello())
            await stream.ended
        finally:
            self._stream = None
            stream.close()
            if self._timer is not None:
                self._timer.cancel()

    async def leave(self) -> None:
        """End the stream from our side, so that nothing is cut in the middle."""
        if self._stream is not None:
            self._stream.finish()

    def _say(self, **body: Any) -> None:
        if self._stream is not None:
            self._seq += 1
            message = session_pb2.AgentMessage(seq=self._seq, session_epoch=self._epoch, **body)
            self._stream.say(calls.ConnectRequest(message=message).SerializeToString())

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

    def _heard(self, said: bytes) -> None:
        message = calls.ConnectResponse.FromString(said).message
        match message.WhichOneof("body"):
            case "welcome":
                self._epoch = message.session_epoch
                self._know(message.welcome.replicas)
                if self._history != message.welcome.history_id:
                    self._history, self._revision, self._rows = message.welcome.history_id, 0, {}
                self.connected_at = time.monotonic()
                self.welcomed.set()
                self._observed = 0
                self._report(self._serving(), full=True)
                self._beat_after(message.welcome.heartbeat_period)
            case "heartbeat_ack":
                self.beats += 1
                self._beat_after(message.heartbeat_ack.next_period)
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

    def _beat_after(self, period: Duration) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(period.ToTimedelta().total_seconds(), self._beat)

    def _beat(self) -> None:
        self._say(heartbeat=session_pb2.Heartbeat(observed_seq=self._observed))

    def _report(self, instances: Iterable[Instance], *, full: bool = False) -> None:
        self._observed += 1
        report = session_pb2.ObservedReport(observed_seq=self._observed, full=full, instances=instances)
        self._say(observed_report=report)

    def _serving(self) -> Iterable[Instance]:
        """None: these only store what they are told."""
        return ()


class ServingAgent(LightAgent):
    """What it is given serves at once."""

    def _store(self, batch: session_pb2.DesiredBatch) -> None:
        super()._store(batch)
        if batch.resources:
            self._report(ready(row.name, row.generation) for row in batch.resources)

    def _serving(self) -> Iterable[Instance]:
        return [ready(name, generation) for name, (generation, _) in self._rows.items()]


def ready(name: str, generation: int) -> Instance:
    return Instance(name=name, state=INSTANCE_STATE_READY, observed_generation=generation, incarnation=1)


def digest_of(rows: dict[str, tuple[int, int]]) -> bytes:
    return digest((name, generation, revision) for name, (generation, revision) in rows.items())
