"""W3C trace context on every call: taken in, or made, and handed on. Spans are OpenTelemetry's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

import grpc
from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

HEADER = "traceparent"
_propagator = TraceContextTextMapPropagator()
_tracer = otel.get_tracer("arw")


def start_tracing(service: str) -> None:
    """Make spans real in this process; exporters are added to the provider by whoever installs one."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - 40 ms that only spans with a reader are worth
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - as above

    otel.set_tracer_provider(TracerProvider(resource=Resource.create({"service.name": service})))


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The two ids of a span, without the span: what the data path hands on."""

    trace_id: str
    """32 hex digits."""
    span_id: str
    """16 hex digits."""
    flags: str = "01"

    @property
    def header(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"

    def child(self) -> TraceContext:
        return TraceContext(self.trace_id, token_hex(8), self.flags)


def new() -> TraceContext:
    return TraceContext(token_hex(16), token_hex(8))


def parse(traceparent: str | None) -> TraceContext | None:
    """None when the header is absent or malformed; the caller then starts a trace of its own."""
    span = otel.get_current_span(_extracted(traceparent)).get_span_context()
    if not span.is_valid:
        return None
    return TraceContext(f"{span.trace_id:032x}", f"{span.span_id:016x}", f"{span.trace_flags:02x}")


def continued(traceparent: str | None) -> TraceContext:
    """A span of our own in the caller's trace, or in a new one."""
    caller = parse(traceparent)
    return caller.child() if caller else new()


@contextmanager
def span(name: str, traceparent: str | None) -> Iterator[str]:
    """Run in a span of the caller's trace; gives the trace id, empty when nothing traces."""
    with _tracer.start_as_current_span(name, context=_extracted(traceparent), kind=otel.SpanKind.SERVER) as here:
        yield _trace_id(here)


@contextmanager
def stream_span(name: str, traceparent: str | None) -> Iterator[str]:
    """The same, but not made current: a stream may be closed from another task than the one that opened it."""
    here = _tracer.start_span(name, context=_extracted(traceparent), kind=otel.SpanKind.SERVER)
    try:
        yield _trace_id(here)
    finally:
        here.end()


def _trace_id(here: otel.Span) -> str:
    context = here.get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else ""


def _extracted(traceparent: str | None) -> Context:
    return _propagator.extract({HEADER: traceparent or ""}, context=Context())


def _with_trace(details: Any) -> grpc.aio.ClientCallDetails:
    metadata = grpc.aio.Metadata(*(details.metadata or ()))
    if metadata.get(HEADER) is None:
        for key, value in outgoing_headers().items():
            metadata.add(key, value)
    return grpc.aio.ClientCallDetails(
        details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
    )


def outgoing_headers() -> Mapping[str, str]:
    """The headers that continue the current span, or start a trace when there is none."""
    headers: dict[str, str] = {}
    _propagator.inject(headers)
    return headers or {HEADER: new().header}


class _UnaryUnary(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(_with_trace(client_call_details), request)


class _StreamUnary(grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await continuation(_with_trace(client_call_details), request_iterator)


class _StreamStream(grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await continuation(_with_trace(client_call_details), request_iterator)


TRACE_CLIENT_INTERCEPTORS: list[grpc.aio.ClientInterceptor] = [_UnaryUnary(), _StreamUnary(), _StreamStream()]
