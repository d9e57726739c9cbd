"""Drives one stream: a reader task, and a writer that is the caller's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from arw.v1 import session_pb2 as pb
from control_plane.domain.accelerator import NodeUsage
from control_plane.domain.admission import Presented, refusal
from control_plane.domain.errors import CertificateExpired
from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.instance import Instance
from control_plane.domain.node import HeldRemoval, Node, NodeInventory
from control_plane.domain.replica import Place
from control_plane.messages.nodes import inventory_from_proto
from control_plane.sessions.bell import Bell
from control_plane.sessions.beside import beside
from control_plane.sessions.desired_feed import DesiredPage, Wanted
from control_plane.sessions.invitation import Terms
from control_plane.sessions.outbox import Outbox
from control_plane.sessions.rejections import rejected
from control_plane.sessions.session import ServerSession, refusal_message
from control_plane.sessions.steps import (
    Admit,
    Advertise,
    Close,
    Contact,
    Load,
    Measure,
    Note,
    Observe,
    Reject,
    Say,
    Step,
    Trouble,
    Trusts,
    Withdraw,
)
from control_plane.use_cases.admit_session import Admission, Greeting
from control_plane.use_cases.observe_instances import Observation
from wire.refusal import Refusal

Abort = Callable[[Refusal], Coroutine[Any, Any, None]]
"""Ends the call with a status while its writer is stuck."""

_BARRED = frozenset({"CERTIFICATE_REVOKED", "CERTIFICATE_NOT_ACTIVE", "NODE_QUARANTINED"})

_log = structlog.get_logger()


class Host(Protocol):
    """What a connection asks of the fleet of connections."""

    def now(self) -> datetime: ...

    async def admit(self, connection: AgentConnection, greeting: Greeting) -> tuple[Admission, Terms]:
        """Open the session durably and give it the node's seat."""

    async def observe(self, connection: AgentConnection, seen: Observation) -> None:
        """Record a report, unless another stream has the seat."""

    async def trouble(self, connection: AgentConnection, trouble: Trouble) -> None:
        """Show what is wrong with the node as a whole, unless another stream has the seat."""

    def withdraw(self, connection: AgentConnection, runtimes: Iterable[RuntimeId]) -> None:
        """Forget what stands for refused specs, without a word: the node never had it."""

    async def advertise(self, connection: AgentConnection, inventory: NodeInventory) -> None:
        """Store what the machine is now, unless another stream has the seat."""

    async def trusts(self, connection: AgentConnection, digest: str) -> None:
        """Record which authorities the node knows; tell it when there are others."""

    def measure(self, connection: AgentConnection, usage: NodeUsage) -> None: ...

    def known(self, connection: AgentConnection, reject: Reject) -> Instance | None: ...

    def load(self, connection: AgentConnection) -> None: ...

    def contact(self, connection: AgentConnection, applied_revision: int) -> None: ...

    def gone(self, connection: AgentConnection, *, for_good: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class _Ending:
    close: Close
    at: datetime


class AgentConnection:
    """One stream of one node. Compared by identity; only touched on the loop."""

    def __init__(self, presented: Presented, session: ServerSession, host: Host, abort: Abort) -> None:
        self.presented = presented
        self.node: NodeId = presented.node
        self.abort = abort
        self._session = session
        self._host = host
        self._outbox = Outbox()
        self._bell = Bell()
        self._ending: _Ending | None = None
        self._writer: asyncio.Task[Any] | None = None
        self._rests_until: datetime | None = None
        """No tick does anything before; None: the next one may."""
        self.trusts = ""
        """Digest of the authorities that the node has, as it is stored."""
        self.trust_told: tuple[str, ...] = ()
        """What was said last of the authorities; empty: nothing."""

    @property
    def epoch(self) -> int:
        return self._session.epoch

    @property
    def held_revision(self) -> int:
        """What the node said it has stored."""
        return self._session.peer.revision

    @property
    def _is_out(self) -> bool:
        """It said goodbye, or may not come back with this certificate: nobody waits for it to resume."""
        return self._ending is not None and (self._ending.close.for_good or self.why in _BARRED)

    @property
    def why(self) -> str:
        """How it ended, in a word."""
        if self._ending is None:
            return "broken"
        refusal = self._ending.close.refusal
        return refusal.reason if refusal else "goodbye"

    @property
    def process_id(self) -> str:
        return self._session.peer.process_id

    def can(self, capability: str) -> bool:
        """Whether its agent has it, and this control plane too."""
        return capability in self._session.peer.capabilities

    async def messages(self, requests: AsyncIterator[pb.AgentMessage]) -> AsyncIterator[pb.ControlMessage]:
        """What to write, until the session ends; then its refusal, if any, is raised."""
        self._writer = asyncio.current_task()
        try:
            async with beside(self._read(requests), self._bell.ring) as reader:
                while not (reader.done() and not self._outbox.finished):
                    self._bell.still()
                    while (message := self._outbox.take()) is not None:
                        yield message
                    if self._outbox.finished:
                        break
                    await self._bell.rung()
                if reader.done():
                    reader.result()
        finally:
            self._host.gone(self, for_good=self._is_out)
        if self._ending is not None and self._ending.close.refusal is not None:
            raise self._ending.close.refusal

    def end(self, refusal: Refusal) -> None:
        self._do(self._session.refuse(refusal))

    def say(self, message: pb.ControlMessage) -> bool:
        said = self._outbox.put(message)
        self._bell.ring()
        return said

    def tick(self, now: datetime) -> bool:
        """Do what is due; True when the stream was told to end and its writer is stuck."""
        if self._rests_until is not None and now < self._rests_until:
            return False
        if now >= self.presented.expire_time:
            self.end(_expired(self.presented))
        self._do(self._session.tick(now))
        rests = self._session.rests_until()
        self._rests_until = rests and min(rests, self.presented.expire_time)
        return self._ending is not None and now - self._ending.at >= self._session.close_within

    @property
    def refusal(self) -> Refusal | None:
        return self._ending.close.refusal if self._ending else None

    def cut(self) -> None:
        """Stop a writer that its peer keeps from writing."""
        if self._writer is not None:
            self._writer.cancel()

    def wanted(self) -> Wanted:
        return self._session.wanted()

    def loaded(self, page: DesiredPage) -> None:
        self._do(self._session.loaded(page, self._host.now()))

    def wake(self) -> None:
        self._do(self._session.changed())

    def recheck(self, row: Node | None) -> None:
        """The node's own row changed: end the stream when its certificate counts no more."""
        refused = refusal(row, self.presented, self._host.now())
        if refused is not None:
            self.end(refused)

    def adopt(self, epoch: int) -> None:
        """The session is open in the store; from now on everything carries its epoch."""
        self._session.epoch = self._outbox.epoch = epoch

    def allow(self, removals: Iterable[HeldRemoval]) -> None:
        self._do(self._session.allow(removals, self._host.now()))

    def drain(self, within: timedelta) -> None:
        self._do(self._session.drain(within))

    def replicas_changed(self, replicas: Sequence[Place], parked_connections: int) -> None:
        self._do(self._session.replicas_changed(replicas, parked_connections))

    async def _read(self, requests: AsyncIterator[pb.AgentMessage]) -> None:
        """Reads on while the writer waits, so the two never wait for each other."""
        try:
            async for message in requests:
                self._rests_until = None
                for step in self._session.received(message, self._host.now()):
                    await self._take(step)
                if self._outbox.finished:
                    return
        except Refusal as refused:
            self.end(refused)

    async def _take(self, step: Step) -> None:
        match step:
            case Admit(hello):
                admission, terms = await self._host.admit(self, _greeting(hello))
                self._do(self._session.admitted(admission.session_epoch, terms, self._host.now()))
            case Observe(instances, gone, full):
                await self._host.observe(self, Observation(self.node, self.epoch, instances, gone, full))
            case Reject():
                seen = rejected(self.node, step, self._host.known(self, step), self._host.now())
                await self._host.observe(self, Observation(self.node, self.epoch, (seen,)))
            case Trouble():
                await self._host.trouble(self, step)
            case Advertise(inventory):
                await self._host.advertise(self, inventory)
            case Trusts(digest):
                await self._host.trusts(self, digest)
            case _:
                self._do((step,))

    def _do(self, steps: Iterable[Step]) -> None:
        self._rests_until = None
        for step in steps:
            match step:
                case Say(message):
                    self.say(message)
                case Load():
                    self._host.load(self)
                case Withdraw(runtimes):
                    self._host.withdraw(self, runtimes)
                case Contact(applied_revision):
                    self._host.contact(self, applied_revision)
                case Measure(usage):
                    self._host.measure(self, usage)
                case Note(event, fields):
                    _log.warning(event, node=self.node, session_epoch=self.epoch, **fields)
                case Close():
                    self._close(step)
                case Admit() | Observe() | Reject() | Trouble() | Advertise() | Trusts():
                    raise TypeError(f"{type(step).__name__} has to be awaited")

    def _close(self, close: Close) -> None:
        if self._ending is None:
            self._ending = _Ending(close, self._host.now())
            self._outbox.finish(refusal_message(close))
            self._bell.ring()


def _greeting(hello: pb.Hello) -> Greeting:
    return Greeting(
        installation_id=hello.installation_id,
        boot_id=hello.boot_id,
        machine_id_hash=hello.machine_id_hash,
        agent_version=hello.agent_version,
        agent_pid=hello.agent_pid,
        inventory=inventory_from_proto(hello.inventory),
        history_id=hello.history_id,
        revision=hello.desired_revision,
    )


def _expired(presented: Presented) -> CertificateExpired:
    ended = f"{presented.expire_time:%Y-%m-%dT%H:%M:%SZ}"
    return CertificateExpired(
        f"The certificate of node {presented.node} expired at {ended}.",
        "Connect again with the renewed certificate; without one, join again with a new join token.",
        node=presented.node,
        expire_time=ended,
    )
