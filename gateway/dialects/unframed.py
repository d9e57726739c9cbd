"""Answers to clients of HTTP/1.0, which know no chunks."""

from __future__ import annotations

from gateway.dialects.errors import phrase
from gateway.dialects.rendering import Rendering
from gateway.refusals import GatewayRefusal
from wire.http_head import HOP_BY_HOP

_DROPPED = HOP_BY_HOP - {b"content-length"}


class Unframed(Rendering):
    """The same answer, ended by the end of its connection."""

    unframed = True

    def __init__(self, inner: Rendering | None) -> None:
        """`inner`: what puts it into the client's words, where something has to."""
        super().__init__()
        self._inner = inner

    def feed(self, data: bytes) -> bytes:
        return self._taken_out(data if self._inner is None else self._inner.feed(data))

    def cut_short(self, refusal: GatewayRefusal) -> bytes:
        return b"" if self._inner is None else self._taken_out(self._inner.cut_short(refusal))

    def _taken_out(self, framed: bytes) -> bytes:
        body = self._reader.feed(framed) if framed else b""
        if self.begun or not self._reader.status:
            return body
        self.begun = True
        return self._head() + body

    def _head(self) -> bytes:
        status = self._reader.status
        kept = (b"%b: %b" % header for header in self._reader.headers.items() if header[0] not in _DROPPED)
        first = f"HTTP/1.1 {status} {phrase(status)}".encode()
        return b"\r\n".join((first, *kept, b"connection: close", b"", b""))
