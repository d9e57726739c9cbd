"""Pairs an operator who reads a log with the call by which the node sends it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta

from arw.v1 import agent_service_pb2 as pb
from arw.v1 import session_pb2
from control_plane.domain.errors import NodeOffline, NotFound, NotReady, ProtocolViolation, RateLimited, Unavailable
from control_plane.domain.ids import NodeId, RuntimeId, instance_name
from control_plane.use_cases.read_runtimes import GetRuntime

MAX_READERS = 64
MAX_CHUNK_BYTES = 64 * 1024
CHUNKS_AHEAD = 8
DEFAULT_TAIL = 100
MAX_TAIL = 10_000

Ask = Callable[[NodeId, session_pb2.LogRequest], bool]
"""Has a node send a log to this replica; False when it has no stream or no room."""


@dataclass(frozen=True, slots=True)
class LogChunk:
    incarnation: int
    data: bytes
    dropped_bytes: int
    """Left out just before `data`."""


@dataclass(eq=False, slots=True)
class _Subscription:
    node: NodeId
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Either side left."""
    chunks: asyncio.Queue[LogChunk | None] = field(default_factory=lambda: asyncio.Queue(CHUNKS_AHEAD))

    async def fill(self, first: pb.PushLogsRequest, rest: AsyncIterator[pb.PushLogsRequest]) -> None:
        """A full queue makes this wait, and the node with it."""
        try:
            await self.chunks.put(_chunk(first))
            async for message in rest:
                await self.chunks.put(_chunk(message))
        finally:
            self.end()

    def end(self) -> None:
        self.over.set()
        if not self.chunks.full():
            self.chunks.put_nowait(None)

    async def read(self) -> AsyncIterator[LogChunk]:
        while not (self.over.is_set() and self.chunks.empty()):
            chunk = await self.chunks.get()
            if chunk is None:
                return
            yield chunk


class LogBroker:
    def __init__(self, ask: Ask, answer_within: timedelta = timedelta(seconds=5)) -> None:
        self._ask = ask
        self._answer_within = answer_within
        self._subscriptions: dict[str, _Subscription] = {}

    async def read(
        self, node: NodeId, runtime: RuntimeId, tail: int, *, follow: bool, whole: bool = False
    ) -> AsyncIterator[LogChunk]:
        """The log's last lines, then what follows; or the whole of it.

        NodeOffline, RateLimited, Unavailable when the node stays mute.
        """
        key, subscription = self._subscribe(node)
        try:
            request = session_pb2.LogRequest(
                subscription=key, instance=instance_name(node, runtime), tail_lines=tail, follow=follow, whole=whole
            )
            if not self._ask(node, request):
                raise _offline(node)
            await self._answered(subscription)
            async for chunk in subscription.read():
                yield chunk
        finally:
            del self._subscriptions[key]
            subscription.end()

    async def push(self, node: NodeId, requests: AsyncIterator[pb.PushLogsRequest]) -> None:
        """Hand a node's log to its reader; returns when the log ends or the reader left."""
        first = await anext(requests, None)
        subscription = self._subscriptions.get(first.subscription) if first else None
        if first is None or subscription is None or subscription.node != node or subscription.opened.is_set():
            raise NotFound("Nobody waits for this log any more.", "Nothing needs to be done.")
        subscription.opened.set()
        async with asyncio.TaskGroup() as group:
            filling = group.create_task(subscription.fill(first, requests))
            await subscription.over.wait()
            filling.cancel()

    def leave(self, node: NodeId) -> None:
        """The node's session is over, and with it every log that it sends."""
        for subscription in self._subscriptions.values():
            if subscription.node == node:
                subscription.end()

    def _subscribe(self, node: NodeId) -> tuple[str, _Subscription]:
        if len(self._subscriptions) >= MAX_READERS:
            raise RateLimited(f"{MAX_READERS} logs are being read already.", "Close one of them and try again.")
        key = secrets.token_urlsafe(16)
        self._subscriptions[key] = _Subscription(node)
        return key, self._subscriptions[key]

    async def _answered(self, subscription: _Subscription) -> None:
        try:
            async with asyncio.timeout(self._answer_within.total_seconds()):
                await subscription.opened.wait()
        except TimeoutError:
            raise Unavailable(
                "The node did not send the log in time.", "Try again; see the node agent's log."
            ) from None


@dataclass(frozen=True, slots=True)
class ReadRuntimeLog:
    """The log of a runtime, wherever it is placed. NotReady while it has no place."""

    get_runtime: GetRuntime
    broker: LogBroker

    async def __call__(
        self, runtime: RuntimeId, tail: int, *, follow: bool, whole: bool = False
    ) -> AsyncIterator[LogChunk]:
        view = await self.get_runtime(runtime)
        node = view.runtime.node
        if node is None:
            raise NotReady(
                f"{runtime} is placed on no node, so it has no log.", f"Run: arwctl runtime explain {runtime}"
            )
        lines = MAX_TAIL if whole else min(tail or DEFAULT_TAIL, MAX_TAIL)
        async for chunk in self.broker.read(node, runtime, lines, follow=follow and not whole, whole=whole):
            yield chunk


def _chunk(message: pb.PushLogsRequest) -> LogChunk:
    if len(message.data) > MAX_CHUNK_BYTES:
        raise ProtocolViolation(f"A piece of log is larger than {MAX_CHUNK_BYTES} bytes.", "Update the node agent.")
    return LogChunk(message.incarnation, message.data, message.dropped_bytes)


def _offline(node: NodeId) -> NodeOffline:
    return NodeOffline(
        f"Node {node} is not connected, so its logs cannot be read now.",
        f"See why: arwctl nodes show {node}; the log lies in the node's own data directory.",
        node=node,
    )
