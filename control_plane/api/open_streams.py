"""What was allowed when a stream began has to stay allowed: it ends when its caller's certificate counts no more.

It also ends when its caller takes nothing of it for too long, for what it holds meanwhile is our memory.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

import grpc
import structlog

from control_plane.api.aborting import Abort, aborting
from control_plane.api.authorization import METHODS, Access, Caller, Gatekeeper, caller
from control_plane.domain.errors import StorageUnavailable, Unavailable
from wire.handlers import Continuation, ManyAnswers, OneAnswer, wrapped
from wire.refusal import Refusal

TAKEN_WITHIN = timedelta(seconds=30)

_log = structlog.get_logger()


class OpenStreams(grpc.aio.ServerInterceptor):
    """Stands inside authorization and holds every call that lasts, but for sessions, which watch their own nodes."""

    def __init__(
        self,
        gatekeeper: Gatekeeper,
        methods: Mapping[str, Access] = METHODS,
        *,
        taken_within: timedelta = TAKEN_WITHIN,
    ) -> None:
        self._gatekeeper = gatekeeper
        self._methods = methods
        self._taken_within = taken_within
        self._open: dict[Caller, set[_Stream]] = {}
        self._endings: set[asyncio.Task[None]] = set()
        """Each lasts until its peer reads, or leaves."""

    async def recheck(self) -> None:
        """End the streams of which nothing is taken, and those of callers who may not go on. StorageUnavailable."""
        self._cut_untaken()
        for who in tuple(self._open):
            try:
                await self._gatekeeper.check_standing(who)
            except StorageUnavailable:
                raise
            except Refusal as refusal:
                for stream in self._open.get(who, ()):
                    stream.end(refusal)

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or self._methods.get(handler_call_details.method) is Access.NODE_SESSION:
            return handler
        if not (handler.request_streaming or handler.response_streaming):
            return handler
        return wrapped(handler, self._one, self._many)

    def _one(self, behaviour: OneAnswer) -> OneAnswer:
        async def answer(request: Any, context: Any) -> Any:
            with self._opened(caller.get(), context) as stream:
                async with stream.unless_ended():
                    return await behaviour(request, context)

        return answer

    def _many(self, behaviour: ManyAnswers) -> ManyAnswers:
        async def messages(request: Any, context: Any) -> Any:
            rest = aiter(behaviour(request, context))
            with self._opened(caller.get(), context) as stream:
                while True:
                    async with stream.unless_ended():
                        message = await anext(rest, grpc.aio.EOF)
                    if message is grpc.aio.EOF:
                        return
                    with stream.handing_over():
                        yield message

        return messages

    def _cut_untaken(self) -> None:
        since = asyncio.get_running_loop().time() - self._taken_within.total_seconds()
        every = [(who.name, stream) for who, streams in self._open.items() for stream in streams]
        untaken = [(who, stream) for who, stream in every if stream.writes_since(since)]
        for _, stream in untaken:
            ending = asyncio.get_running_loop().create_task(stream.cut(_untaken(self._taken_within)))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)
        for who, streams in Counter(who for who, _ in untaken).items():
            _log.warning("streams_not_read", caller=who, streams=streams)

    @contextmanager
    def _opened(self, who: Caller, context: Any) -> Iterator[_Stream]:
        stream = _Stream(aborting(context))
        streams = self._open.setdefault(who, set())
        streams.add(stream)
        try:
            yield stream
        finally:
            streams.discard(stream)
            if not streams:
                self._open.pop(who, None)


class _Stream:
    """Ended only while its handler waits for us, never while grpc writes: that could not be undone.

    It is cut when grpc would write for ever.
    """

    def __init__(self, abort: Abort) -> None:
        self._abort = abort
        self._refusal: Refusal | None = None
        self._waiting: asyncio.Timeout | None = None
        self._handler = asyncio.current_task()
        self._write_began: float | None = None
        """By the loop's clock."""

    def end(self, refusal: Refusal) -> None:
        """A message that is on its way gets out; none follows."""
        if self._refusal is not None:
            return
        self._refusal = refusal
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())

    @contextmanager
    def handing_over(self) -> Iterator[None]:
        """While grpc writes a message."""
        self._write_began = asyncio.get_running_loop().time()
        yield
        self._write_began = None

    def writes_since(self, time: float) -> bool:
        """Whether grpc has been at one message since then."""
        return self._write_began is not None and self._write_began <= time

    async def cut(self, refusal: Refusal) -> None:
        """The handler ends now; its peer learns why once it has read all that was written before."""
        self._write_began = None
        if self._handler is not None:
            self._handler.cancel()
        await self._abort(self._refusal or refusal)

    @asynccontextmanager
    async def unless_ended(self) -> AsyncIterator[None]:
        """Waits inside are cut short by the refusal that the stream was ended with."""
        if self._refusal is not None:
            raise self._refusal
        try:
            async with asyncio.timeout(None) as self._waiting:
                yield
        except TimeoutError:
            if self._refusal is None:
                raise
            raise self._refusal from None
        finally:
            self._waiting = None


def _untaken(within: timedelta) -> Unavailable:
    return Unavailable(
        f"Nothing of this stream was read for {within.total_seconds():.0f} s.", "Open it again, and read what comes."
    )
