"""HTTP/2 by hand, so that a test may break its rules."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

from hpack import Encoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7, 0x9
END_STREAM, END_HEADERS = 0x1, 0x4


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0, length: int | None = None) -> bytes:
    """`length` may lie about the payload."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def opening() -> bytes:
    return PREFACE + frame(SETTINGS)


def call_head(path: str, stream: int, *extra: tuple[str, str]) -> bytes:
    """The HEADERS frame that opens a gRPC call."""
    fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", path),
        (":authority", "x"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        *extra,
    ]
    encoder = Encoder()
    # A table of its own for each frame: every frame stands alone.
    encoder.header_table_size = 0
    return frame(HEADERS, encoder.encode(fields), flags=END_HEADERS, stream=stream)


def grpc_message(payload: bytes, *, compressed: int = 0, length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return bytes([compressed]) + size.to_bytes(4, "big") + payload


@dataclass(slots=True)
class RawConnection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(
        cls, port: int, tls: ssl.SSLContext | None = None, source: str = "127.0.0.1", name: str = "localhost"
    ) -> RawConnection:
        """`source`: the address that the server sees; `name`: what its certificate has to carry."""
        asked = name if tls else None
        return cls(
            *await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=asked, local_addr=(source, 0))
        )

    @classmethod
    async def open_unix(cls, path: str) -> RawConnection:
        return cls(*await asyncio.open_unix_connection(path))

    async def send(self, data: bytes, patience_s: float = 2.0) -> bool:
        """False when the peer closed, or took no more within its time."""
        try:
            self.writer.write(data)
            async with asyncio.timeout(patience_s):
                await self.writer.drain()
        except (OSError, TimeoutError):
            return False
        return not self.writer.is_closing()

    async def rest(self, patience_s: float = 2.0) -> tuple[bytes, bool]:
        """What comes until the peer closes or stays silent so long, and whether it closed."""
        found = b""
        try:
            async with asyncio.timeout(patience_s) as patience:
                while data := await self.reader.read(65536):
                    found = (found + data)[-65536:]
                    patience.reschedule(asyncio.get_running_loop().time() + patience_s)
        except TimeoutError:
            return found, False
        except OSError:
            return found, True
        return found, True

    def close(self) -> None:
        self.writer.transport.abort()
