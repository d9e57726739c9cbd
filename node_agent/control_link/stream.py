"""One connected stream: a reader that never waits for the writer, a writer that grpc pulls, and a ticker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from arw.v1 import agent_service_pb2, agent_service_pb2_grpc
from node_agent.control_link.actions import (
    Action,
    Check,
    Desire,
    GiveUp,
    Leave,
    Opened,
    Park,
    Probe,
    ReadLogs,
    Regroup,
    Settled,
    Store,
    Trust,
)
from node_agent.control_link.convert import agent_to_proto, control_from_proto
from node_agent.control_link.messages import Goodbye, LogRequest, ProbeInstance, ReplicasChanged
from node_agent.control_link.session import AgentSession
from node_agent.domain.spec import InstanceName, InstanceSpec
from node_agent.domain.status import Problem
from node_agent.domain.trust import TrustBundle

FLUSH_S = 1.0
MAX_LOG_SUBSCRIPTIONS = 16


@dataclass(frozen=True, slots=True)
class Broken:
    """The stream ended by itself; `error` None: the control plane closed it without a word."""

    error: grpc.aio.AioRpcError | None


Ending = Leave | GiveUp | Broken


class Host(Protocol):
    """What a stream asks of the link that owns it."""

    def now(self) -> float: ...

    def desire(self, wanted: Desire) -> None: ...

    async def admit(self, spec: InstanceSpec) -> Problem | None: ...

    def store(self, session: AgentSession, change: Store) -> Awaitable[list[Action]]:
        """Runs to its end even when the stream does not."""

    def park(self, idle: int, relay_address: str) -> None: ...

    def probe(self, asked: ProbeInstance) -> None: ...

    def trust(self, told: TrustBundle) -> None: ...

    def regroup(self, told: ReplicasChanged) -> None: ...

    def opened(self, action: Opened) -> None: ...

    def settled(self) -> None: ...

    def progressed(self) -> None:
        """Something happened; the state on show may have changed."""

    async def push_logs(self, stub: agent_service_pb2_grpc.AgentServiceAsyncStub, request: LogRequest) -> None: ...


class Stream:
    def __init__(self, stub: agent_service_pb2_grpc.AgentServiceAsyncStub, session: AgentSession, host: Host) -> None:
        self.session = session
        self._stub = stub
        self._host = host
        self._wake = asyncio.Event()
        self._written = asyncio.Event()
        self._closed = False
        self._retime = asyncio.Event()
        self._ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self._logs = 0
        self._call = stub.Connect(self._outgoing())

    async def run(self) -> Ending:
        """Until the stream ends, whoever ends it."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for loop in (self._read(), self._tick()):
                    self._spawn(loop)
                ending = await self._ending
                await self._flush(ending)
                for task in self._tasks:
                    task.cancel()
        finally:
            # The writer belongs to grpc, which waits for its end also when the call is over.
            self._closed = True
            self.nudge()
            self._call.cancel()
        return ending

    def nudge(self) -> None:
        """The session has something new to say or another time to wake at."""
        self._written.clear()
        self._wake.set()
        self._retime.set()

    async def say_goodbye(self, goodbye: Goodbye) -> None:
        """Leave cleanly, within a moment."""
        self.session.say_goodbye(goodbye)
        self.nudge()
        await asyncio.wait({self._ending}, timeout=FLUSH_S)

    def perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            self._perform(action)
        self._host.progressed()
        self.nudge()

    def _perform(self, action: Action) -> None:  # noqa: C901 - one line an action
        match action:
            case Check():
                self._spawn(self._check(action))
            case Store():
                self._spawn(self._store(action))
            case Desire():
                self._host.desire(action)
            case Opened():
                self._host.opened(action)
            case Settled():
                self._host.settled()
            case Park():
                self._host.park(action.idle, action.relay_address)
            case Regroup():
                self._host.regroup(action.told)
            case Trust(told):
                self._host.trust(told)
            case Probe(asked):
                self._host.probe(asked)
            case ReadLogs():
                self._start_logs(action.request)
            case Leave() | GiveUp():
                self._end(action)

    def _end(self, ending: Ending) -> None:
        if not self._ending.done():
            self._ending.set_result(ending)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._group is None or self._ending.done():
            work.close()
            return
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self) -> None:
        try:
            while isinstance(response := await self._call.read(), agent_service_pb2.ConnectResponse):
                envelope = control_from_proto(response.message)
                self.perform(self.session.receive(envelope, self._host.now()))
        except grpc.aio.AioRpcError as error:
            self._end(Broken(error))
        else:
            self._end(Broken(None))

    async def _outgoing(self) -> AsyncIterator[agent_service_pb2.ConnectRequest]:
        """The writer: grpc asks for the next message when it has room for one."""
        while not self._closed:
            with _HandedOver(self._ending):
                envelope = self.session.take()
                message = agent_to_proto(envelope) if envelope else None
            if envelope is None:
                self._written.set()
                await self._wake.wait()
                self._wake.clear()
                continue
            yield agent_service_pb2.ConnectRequest(message=message)
            if isinstance(envelope.body, Goodbye):
                return

    async def _flush(self, ending: Ending) -> None:
        """What is acknowledged already should be heard, when we are the ones who leave."""
        if isinstance(ending, Leave):
            self.nudge()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_S):
                    await self._written.wait()

    async def _tick(self) -> None:
        self.nudge()
        while True:
            delay = max(0.0, self.session.next_event() - self._host.now())
            self._retime.clear()
            try:
                async with asyncio.timeout(delay):
                    await self._retime.wait()
            except TimeoutError:
                self.perform(self.session.tick(self._host.now()))

    async def _check(self, action: Check) -> None:
        verdicts: dict[InstanceName, Problem | None] = {}
        for spec in action.specs:
            verdicts[spec.name] = await self._host.admit(spec)
        self.perform(self.session.checked(verdicts, self._host.now()))

    async def _store(self, action: Store) -> None:
        self.perform(await self._host.store(self.session, action))

    def _start_logs(self, request: LogRequest) -> None:
        if self._logs < MAX_LOG_SUBSCRIPTIONS:
            self._logs += 1
            self._spawn(self._push_logs(request))

    async def _push_logs(self, request: LogRequest) -> None:
        try:
            await self._host.push_logs(self._stub, request)
        finally:
            self._logs -= 1


class _HandedOver:
    """A fault in grpc's own task is the stream's: grpc would only cancel the call, and nobody would know why."""

    def __init__(self, ending: asyncio.Future[Ending]) -> None:
        self._ending = ending

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, Exception) and not self._ending.done():
            self._ending.set_exception(error)
