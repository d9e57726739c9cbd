"""Tells operators on each call whom the control plane trusts and who signs, so that their clients can keep up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from control_plane.api.authorization import METHODS, Access
from wire.handlers import Continuation, ManyAnswers, OneAnswer, wrapped

METADATA = "arw-trust"


class TrustHint(grpc.aio.ServerInterceptor):
    """Stands inside authorization."""

    def __init__(self, hint: Callable[[], str]) -> None:
        """`hint`: digest of all that are trusted, and after a dot the id of the one that signs."""
        self._hint = hint

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or METHODS.get(handler_call_details.method) is not Access.OPERATOR:
            return handler
        return wrapped(handler, self._one, self._many)

    def _one(self, behaviour: OneAnswer) -> OneAnswer:
        async def answer(request: Any, context: Any) -> Any:
            await self._say(context)
            return await behaviour(request, context)

        return answer

    def _many(self, behaviour: ManyAnswers) -> ManyAnswers:
        async def messages(request: Any, context: Any) -> Any:
            await self._say(context)
            async for message in behaviour(request, context):
                yield message

        return messages

    async def _say(self, context: Any) -> None:
        await context.send_initial_metadata(((METADATA, self._hint()),))
