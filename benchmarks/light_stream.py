"""One gRPC call over a connection of its own, at little cost: bytes of messages go in and come out.

HTTP/2 (RFC 9113) as far as one stream needs it. Header fields are written as literals and never read: why a call
ended is not known here.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from enum import IntEnum
from struct import Struct
from typing import Any

from wire.credentials import CONTROL_PLANE_NAME

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_END_STREAM = _ACK = 0x1
_END_HEADERS = 0x4
_INITIAL_WINDOW_SIZE = 4
_WINDOW = 65_535
"""Where nobody says another. Ours stays so, as a real agent's does."""
_MAX_FRAME = 16_384
_HEAD = Struct("!BHBBI")
"""Length in two parts, kind, flags, stream."""
_PREFIX = Struct("!BI")
"""Before each message: that it is not compressed, and its length."""
_SETTING = Struct("!HI")
_NUMBER = Struct("!I")
_CONNECTION, _STREAM = 0, 1


class _Kind(IntEnum):
    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    WINDOW_UPDATE = 8


class LightStream(asyncio.Protocol):
    """`heard` gets every message of the other side; `ended` is done once nothing more comes."""

    def __init__(self, path: str, heard: Callable[[bytes], None]) -> None:
        self._path = path
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._heard = heard
        self._transport: asyncio.WriteTransport | None = None
        self._received = self._begun = self._unsent = b""
        self._room = {_CONNECTION: _WINDOW, _STREAM: _WINDOW}
        """Bytes of data that the other side still takes."""
        self._first_room = _WINDOW
        self._taken = 0
        """Bytes of data for which the other side was not given room again."""

    @classmethod
    async def open(
        cls, address: str, context: ssl.SSLContext, path: str, heard: Callable[[bytes], None]
    ) -> LightStream:
        """Call the method at "/package.Service/Method" of the control plane at "host:port". OSError."""
        context.set_alpn_protocols(["h2"])
        host, _, port = address.rpartition(":")
        loop, name = asyncio.get_running_loop(), CONTROL_PLANE_NAME
        _, stream = await loop.create_connection(
            lambda: cls(path, heard), host, int(port), ssl=context, server_hostname=name
        )
        return stream

    def say(self, message: bytes) -> None:
        self._unsent += _PREFIX.pack(0, len(message)) + message
        self._send()

    def finish(self) -> None:
        """Nothing more comes from here."""
        self._write(_frame(_Kind.DATA, _STREAM, flags=_END_STREAM))

    def close(self) -> None:
        """At once: whoever wants the last word to arrive calls `finish` and waits for the end."""
        if self._transport is not None:
            self._transport.abort()

    # For the transport.

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self._transport = None
        self._end()

    def data_received(self, data: bytes) -> None:
        data, start = self._received + data, 0
        while len(data) - start >= _HEAD.size:
            high, low, kind, flags, stream = _HEAD.unpack_from(data, start)
            body = start + _HEAD.size
            end = body + (high << 16 | low)
            if len(data) < end:
                break
            self._take(kind, flags, stream, data[body:end])
            start = end
        self._received = data[start:]

    def _begin(self) -> None:
        """Before anything of the other side is answered."""
        fields = {
            ":method": "POST",
            ":scheme": "https",
            ":path": self._path,
            ":authority": CONTROL_PLANE_NAME,
            "te": "trailers",
            "content-type": "application/grpc",
        }
        block = b"".join(b"\0" + _literal(name) + _literal(value) for name, value in fields.items())
        headers = _frame(_Kind.HEADERS, _STREAM, block, flags=_END_HEADERS)
        self._write(_PREFACE + _frame(_Kind.SETTINGS, _CONNECTION) + headers)

    def _take(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        match kind:
            case _Kind.DATA:
                self._took(body)
            case _Kind.SETTINGS if not flags & _ACK:
                self._agree(body)
            case _Kind.PING if not flags & _ACK:
                self._write(_frame(_Kind.PING, _CONNECTION, body, flags=_ACK))
            case _Kind.WINDOW_UPDATE:
                self._room[stream] += _NUMBER.unpack(body)[0]
                self._send()
            case _:
                pass
        last = kind in {_Kind.DATA, _Kind.HEADERS} and flags & _END_STREAM
        if last or kind == _Kind.RST_STREAM:
            self._end()

    def _took(self, body: bytes) -> None:
        self._taken += len(body)
        if self._taken > _WINDOW // 2:
            room = _NUMBER.pack(self._taken)
            self._write(b"".join(_frame(_Kind.WINDOW_UPDATE, where, room) for where in (_CONNECTION, _STREAM)))
            self._taken = 0
        data, start = self._begun + body, 0
        while len(data) - start >= _PREFIX.size:
            message = start + _PREFIX.size
            end = message + _PREFIX.unpack_from(data, start)[1]
            if len(data) < end:
                break
            self._heard(data[message:end])
            start = end
        self._begun = data[start:]

    def _agree(self, settings: bytes) -> None:
        for name, value in _SETTING.iter_unpack(settings):
            if name == _INITIAL_WINDOW_SIZE:
                self._room[_STREAM] += value - self._first_room
                self._first_room = value
        self._write(_frame(_Kind.SETTINGS, _CONNECTION, flags=_ACK))
        self._send()

    def _send(self) -> None:
        """As much as the other side takes."""
        while (size := min(len(self._unsent), _MAX_FRAME, *self._room.values())) > 0:
            self._write(_frame(_Kind.DATA, _STREAM, self._unsent[:size]))
            self._unsent = self._unsent[size:]
            for where in self._room:
                self._room[where] -= size

    def _write(self, frames: bytes) -> None:
        if self._transport is not None:
            self._transport.write(frames)

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


def _frame(kind: _Kind, stream: int, body: bytes = b"", *, flags: int = 0) -> bytes:
    return _HEAD.pack(len(body) >> 16, len(body) & 0xFFFF, kind, flags, stream) + body


def _literal(text: str) -> bytes:
    """As a header block has it: not indexed, not compressed; shorter than 127 bytes."""
    return bytes((len(text),)) + text.encode()
