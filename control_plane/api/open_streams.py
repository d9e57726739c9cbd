"""What was allowed when a stream began has to stay allowed: it ends when its caller's certificate counts no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc

from control_plane.api.authorization import METHODS, Access, Caller, Gatekeeper, caller
from control_plane.domain.errors import StorageUnavailable
from wire.handlers import Continuation, ManyAnswers, OneAnswer, wrapped
from wire.refusal import Refusal


class OpenStreams(grpc.aio.ServerInterceptor):
    """Stands inside authorization and holds every call that lasts, but for sessions, which watch their own nodes."""

    def __init__(self, gatekeeper: Gatekeeper, methods: Mapping[str, Access] = METHODS) -> None:
        self._gatekeeper = gatekeeper
        self._methods = methods
        self._open: dict[Caller, set[_Stream]] = {}

    async def recheck(self) -> None:
        """Ask about each caller once, and end the streams of those who may not go on. StorageUnavailable."""
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
            with self._opened(caller.get()) as stream:
                async with stream.unless_ended():
                    return await behaviour(request, context)

        return answer

    def _many(self, behaviour: ManyAnswers) -> ManyAnswers:
        async def messages(request: Any, context: Any) -> Any:
            rest = aiter(behaviour(request, context))
            with self._opened(caller.get()) as stream:
                while True:
                    async with stream.unless_ended():
                        message = await anext(rest, grpc.aio.EOF)
                    if message is grpc.aio.EOF:
                        return
                    yield message

        return messages

    @contextmanager
    def _opened(self, who: Caller) -> Iterator[_Stream]:
        stream = _Stream()
        streams = self._open.setdefault(who, set())
        streams.add(stream)
        try:
            yield stream
        finally:
            streams.discard(stream)
            if not streams:
                self._open.pop(who, None)


class _Stream:
    """Only cut while its handler waits for us, never while grpc writes: that could not be undone."""

    def __init__(self) -> None:
        self._refusal: Refusal | None = None
        self._waiting: asyncio.Timeout | None = None

    def end(self, refusal: Refusal) -> None:
        """A message that is on its way gets out; none follows."""
        if self._refusal is not None:
            return
        self._refusal = refusal
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())

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
