from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, TypeVar

import grpc
import pytest

from control_plane.api.authorization import Access, Caller, Gatekeeper, caller
from control_plane.api.open_streams import OpenStreams
from control_plane.domain.admission import Presented
from control_plane.domain.errors import CertificateExpired, CertificateRevoked, StorageUnavailable
from control_plane.domain.ids import NodeId, OperatorId
from control_plane.domain.operator import Operator
from control_plane.store.memory import MemoryStore
from control_plane.use_cases.authenticate_node import AuthenticateNode
from control_plane.use_cases.authenticate_operator import AuthenticateOperator
from control_plane.use_cases.ports import Transaction
from tests.fakes.clock import NOON, FakeClock
from wire.credentials import Role

T = TypeVar("T")
DAY = timedelta(days=1)
LOCAL = Operator(OperatorId("local"), "local", "", NOON, "aa")
METHODS = {"/test/Watch": Access.OPERATOR, "/test/Session": Access.NODE_SESSION}


class FailingStore(MemoryStore):
    broken = False

    async def read(self, query: Callable[[Transaction], T]) -> T:
        if self.broken:
            raise StorageUnavailable("The disk is gone.")
        return await super().read(query)


@dataclass(frozen=True)
class Details:
    method: str
    invocation_metadata: tuple[()] = ()


@dataclass
class Watch:
    """One operator with a stream open, which says what the test puts into it."""

    clock: FakeClock = field(default_factory=FakeClock)
    said: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    left: bool = False

    def __post_init__(self) -> None:
        self.store = FailingStore(self.clock)
        keeper = Gatekeeper(
            "test", AuthenticateNode(self.store, self.clock), AuthenticateOperator(self.store, self.clock)
        )
        self.keeper = keeper
        self.streams = OpenStreams(keeper, METHODS)
        self.handler: Any = grpc.unary_stream_rpc_method_handler(self._behaviour)

    async def _behaviour(self, request: Any, context: Any) -> AsyncIterator[str]:
        try:
            while word := await self.said.get():
                yield word
        finally:
            self.left = True

    async def put(self, row: Operator) -> None:
        await self.store.write(lambda tx: tx.operators.put(row))

    async def served(self, method: str) -> Any:
        async def continuation(details: grpc.HandlerCallDetails) -> Any:
            return self.handler

        details: Any = Details(method)
        return await self.streams.intercept_service(continuation, details)

    async def open(self, call: Any = None, **rules: timedelta) -> AsyncIterator[str]:
        await self.put(LOCAL)
        self.streams = OpenStreams(self.keeper, METHODS, **rules)
        caller.set(Caller(Role.OPERATOR, Presented(NodeId("local"), "aa", NOON + DAY)))
        messages: AsyncIterator[str] = (await self.served("/test/Watch")).unary_stream(None, call)
        return messages


async def test_a_stream_that_waits_is_cut_and_its_work_ends() -> None:
    watch = Watch()
    messages = await watch.open()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(_refusal(messages))
        await asyncio.sleep(0)
        watch.clock.advance(DAY)
        await watch.streams.recheck()
        await watch.streams.recheck()
    assert isinstance(waiting.result(), CertificateExpired)
    assert watch.left
    assert not watch.streams._open


async def test_a_message_that_is_being_written_gets_out_and_no_other_follows() -> None:
    watch = Watch()
    messages = await watch.open()
    watch.said.put_nowait("one")
    watch.said.put_nowait("two")
    assert await anext(messages) == "one"
    await watch.put(replace(LOCAL, revoked=True))
    await watch.streams.recheck()
    assert isinstance(await _refusal(messages), CertificateRevoked)


async def test_a_store_that_cannot_be_read_ends_no_stream() -> None:
    watch = Watch()
    messages = await watch.open()
    watch.said.put_nowait("one")
    assert await anext(messages) == "one"
    watch.store.broken = True
    with pytest.raises(StorageUnavailable):
        await watch.streams.recheck()
    watch.said.put_nowait("two")
    assert await anext(messages) == "two"
    watch.said.put_nowait("")
    assert [message async for message in messages] == []
    assert not watch.streams._open


async def test_sessions_are_left_to_themselves() -> None:
    watch = Watch()
    assert await watch.served("/test/Session") is watch.handler
    assert await watch.served("/test/Watch") is not watch.handler


async def _refusal(messages: AsyncIterator[str]) -> Exception:
    with pytest.raises((CertificateExpired, CertificateRevoked)) as caught:
        await anext(messages)
    return caught.value


class StuckCall:
    """A call whose peer reads nothing."""

    def __init__(self) -> None:
        self.status: Any = None

    async def abort_with_status(self, status: Any) -> None:
        self.status = status
        raise grpc.aio.AbortError


async def _written(messages: AsyncIterator[str]) -> None:
    async for _ in messages:
        await asyncio.Event().wait()


async def test_what_nobody_reads_is_cut_and_its_caller_is_told_why() -> None:
    watch, call = Watch(), StuckCall()
    messages = await watch.open(call, taken_within=timedelta(0))
    watch.said.put_nowait("one")
    handler = asyncio.create_task(_written(messages))
    for _ in range(10):
        await asyncio.sleep(0)
    await watch.streams.recheck()
    await asyncio.wait({handler})
    assert handler.cancelled()
    assert call.status.details == "Nothing of this stream was read for 0 s."


async def test_a_stream_that_only_has_nothing_to_say_is_not_cut() -> None:
    watch, call = Watch(), StuckCall()
    messages = await watch.open(call, taken_within=timedelta(0))
    watch.said.put_nowait("one")
    assert await anext(messages) == "one"
    waiting = asyncio.ensure_future(anext(messages))
    await asyncio.sleep(0)
    await watch.streams.recheck()
    assert not waiting.done()
    assert call.status is None
    watch.said.put_nowait("two")
    assert await waiting == "two"
