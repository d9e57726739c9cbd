"""Nobody holds a call open without saying what it is for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc

from control_plane.domain.errors import ProtocolViolation
from wire.handlers import Continuation, OneAnswer


class FirstMessageInterceptor(grpc.aio.ServerInterceptor):
    """Refuses a unary call whose message does not come in time. Stands inside the error interceptor.

    grpc calls nobody before that message is there, so the method is served as one that takes a stream of them, which
    is the same on the wire.
    """

    def __init__(self, within: timedelta) -> None:
        self._within = within

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or not handler.unary_unary:
            return handler
        return grpc.stream_unary_rpc_method_handler(
            self._answering(handler.unary_unary), handler.request_deserializer, handler.response_serializer
        )

    def _answering(self, behaviour: OneAnswer) -> OneAnswer:
        async def answer(messages: AsyncIterator[Any], context: Any) -> Any:
            return await behaviour(await self._first(messages), context)

        return answer

    async def _first(self, messages: AsyncIterator[Any]) -> Any:
        try:
            async with asyncio.timeout(self._within.total_seconds()):
                return await anext(messages)
        except (TimeoutError, StopAsyncIteration):
            raise ProtocolViolation(
                f"The call brought no request within {self._within.total_seconds():g} s.", "Try again."
            ) from None
