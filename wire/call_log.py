"""One log line a call, in the caller's trace."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import grpc
import structlog

from wire import trace
from wire.handlers import Continuation, ManyAnswers, OneAnswer, wrapped

_log = structlog.get_logger()


class CallLogInterceptor(grpc.aio.ServerInterceptor):
    """Continues the caller's trace and logs method, peer, status and milliseconds. Never a message's content."""

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        return wrapped(handler, partial(_one_answer, method), partial(_many_answers, method))


def _one_answer(method: str, behaviour: OneAnswer) -> OneAnswer:
    async def answer(request: Any, context: Any) -> Any:
        with trace.span(method, _traceparent(context)) as trace_id, _one_line(method, context, trace_id):
            return await behaviour(request, context)

    return answer


def _many_answers(method: str, behaviour: ManyAnswers) -> ManyAnswers:
    async def stream(request: Any, context: Any) -> Any:
        with trace.stream_span(method, _traceparent(context)) as trace_id, _one_line(method, context, trace_id):
            async for message in behaviour(request, context):
                yield message

    return stream


def _traceparent(context: Any) -> str | None:
    return dict(context.invocation_metadata() or ()).get(trace.HEADER)


@contextmanager
def _one_line(method: str, context: Any, trace_id: str) -> Iterator[None]:
    # Asked now: a stream cancelled in the middle of a write is finalised after its call is freed, and asking a freed
    # call for its peer crashes the process.
    peer, started = context.peer(), time.monotonic()
    try:
        yield
    finally:
        took_ms = round((time.monotonic() - started) * 1000, 1)
        _log.info("call", method=method, peer=peer, code=_code(context), took_ms=took_ms, trace_id=trace_id)


def _code(context: Any) -> str:
    code = context.code()
    if isinstance(code, grpc.StatusCode):
        return code.name
    return "OK" if not code else next((item.name for item in grpc.StatusCode if item.value[0] == code), str(code))
