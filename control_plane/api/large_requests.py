"""One large request of a connection at a time, so that who sends many of them waits for itself and not for others."""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakValueDictionary

import grpc

from wire.handlers import Continuation, ManyAnswers, OneAnswer, wrapped

LARGE_BYTES = 2 * 1024
"""About what a manifest of fifteen runtimes has: some ten milliseconds of the one writer."""


class LargeRequests(grpc.aio.ServerInterceptor):
    """Of calls with one answer. A connection may have 64 of them open; what waits holds nothing but its bytes."""

    def __init__(self, large_bytes: int = LARGE_BYTES) -> None:
        self._large_bytes = large_bytes
        # Kept alive by those who hold them, or wait.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(handler_call_details)
        return handler and wrapped(handler, self._one, _as_it_is)

    def _one(self, behaviour: OneAnswer) -> OneAnswer:
        async def answer(request: Any, context: Any) -> Any:
            if not hasattr(request, "ByteSize") or request.ByteSize() < self._large_bytes:
                return await behaviour(request, context)
            turn = self._turns.setdefault(context.peer(), asyncio.Lock())
            async with turn:
                return await behaviour(request, context)

        return answer


def _as_it_is(behaviour: ManyAnswers) -> ManyAnswers:
    return behaviour
