"""An event stream that the gateway began itself, while the engine that answers it was loaded."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from gateway.dialects.errors import ANTHROPIC, Fault, Shape, engine_fault, fault_of
from gateway.dialects.rendering import Rendering, Worded
from gateway.refusals import EngineBroke, GatewayRefusal

_LAST_CHUNK = b"0\r\n\r\n"


def opened(request_id: str) -> bytes:
    lines = (
        "HTTP/1.1 200 OK",
        "content-type: text/event-stream",
        "cache-control: no-cache",
        f"x-request-id: {request_id}",
        "transfer-encoding: chunked",
    )
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def comment(text: str) -> bytes:
    """Clients pass over it; it keeps the connection from looking dead."""
    return chunk(b": " + " ".join(text.split()).encode() + b"\n\n")


def closed(refusal: GatewayRefusal, shape: Shape, request_id: str) -> bytes:
    """The last words of a stream that no engine will go on with."""
    return told(refusal, shape, request_id) + _LAST_CHUNK


def told(refusal: GatewayRefusal, shape: Shape, request_id: str) -> bytes:
    """An event that says so, in a stream whose end then is that of the connection."""
    return _error(fault_of(refusal), shape, request_id)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def _error(fault: Fault, shape: Shape, request_id: str) -> bytes:
    name = b"event: error\n" if shape is ANTHROPIC else b""
    return chunk(name + b"data: " + shape.body(fault, request_id) + b"\n\n")


class Begun(Worded):
    """The engine's answer without its head; what it says in place of a stream is told as an event."""

    def __init__(self, request_id: str, shape: Shape, inner: Rendering | None) -> None:
        """`inner`: what puts it into the client's words, where something has to."""
        super().__init__(request_id, shape)
        self.begun = True
        self._inner = inner

    def feed(self, data: bytes) -> bytes:
        framed = data if self._inner is None else self._inner.feed(data)
        body, reader = self._reader.feed(framed) if framed else b"", self._reader
        if b"content-encoding" in reader.headers:
            raise EngineBroke("The engine's stream is packed, and this one has begun plain.", "Ask for it plain.")
        if reader.status != HTTPStatus.OK or not reader.is_event_stream:
            self._hold(body)
            return self._whole() if reader.whole else b""
        return chunk(body) + (_LAST_CHUNK if reader.whole else b"")

    def cut_short(self, refusal: GatewayRefusal) -> bytes:
        return closed(refusal, self._shape, self._request_id)

    def _whole(self) -> bytes:
        body = b"".join(self._held)
        if self._reader.status >= HTTPStatus.BAD_REQUEST:
            return _error(engine_fault(self._reader.status, body), self._shape, self._request_id) + _LAST_CHUNK
        return chunk(b"data: " + msgspec.json.format(body, indent=-1) + b"\n\n") + _LAST_CHUNK
