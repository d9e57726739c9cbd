"""HTTP/1.1 for one request at a time, on asyncio, so that leaving a stream closes it at once."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

MAX_LINE_BYTES = 1 << 20
NO_BODY = {204, 304}
REACH_S = 2.0
"""How long one of several addresses may take to answer, handshake included."""


class BrokenAnswerError(Exception):
    """What came back is no HTTP/1.1 response."""


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    elsewhere: tuple[str, ...] = ()
    """The same at other replicas, for when nobody listens there."""

    def head(self, url: str) -> bytes:
        parts = urlsplit(url)
        path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        fields = {"host": parts.netloc, "content-length": str(len(self.body)), "connection": "close", **self.headers}
        lines = [f"{self.method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join([*lines, "", ""]).encode("ascii")


class Response:
    """Status and headers at once, the body as it comes."""

    def __init__(self, status: int, headers: Mapping[str, str], reader: asyncio.StreamReader) -> None:
        self.status = status
        self.headers = headers
        self._reader = reader

    async def read(self) -> bytes:
        return b"".join([part async for part in self.parts()])

    async def lines(self) -> AsyncIterator[bytes]:
        """Lines without their ends; the last one may lack its own."""
        rest = b""
        async for part in self.parts():
            *whole, rest = (rest + part).split(b"\n")
            for line in whole:
                yield line.rstrip(b"\r")
        if rest:
            yield rest

    def parts(self) -> AsyncIterator[bytes]:
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            return self._chunks()
        return self._bytes(self.headers.get("content-length"))

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := _chunk_size(await _line(self._reader)):
            yield await self._reader.readexactly(size)
            await _line(self._reader)

    async def _bytes(self, length: str | None) -> AsyncIterator[bytes]:
        left = int(length) if length is not None else None
        while left is None or left > 0:
            part = await self._reader.read(65536 if left is None else min(left, 65536))
            if not part and left is not None:
                raise BrokenAnswerError(f"{left} bytes of it are missing")
            if not part:
                return
            left = None if left is None else left - len(part)
            yield part


@asynccontextmanager
async def exchange(request: Request, tls: ssl.SSLContext | None, server_name: str | None) -> AsyncIterator[Response]:
    """Send the request and hold its response; OSError, IncompleteReadError or BrokenAnswerError when that fails.

    `tls` is for those of its addresses that are https.
    """
    url, reader, writer = await _dialled(request, tls, server_name)
    try:
        writer.write(request.head(url) + request.body)
        await writer.drain()
        yield await _response(reader)
    finally:
        writer.transport.abort()


async def _dialled(
    request: Request, tls: ssl.SSLContext | None, server_name: str | None
) -> tuple[str, asyncio.StreamReader, asyncio.StreamWriter]:
    """The first of its addresses where somebody listens. OSError of the first when nobody does."""
    failures: list[OSError] = []
    for url in (request.url, *request.elsewhere):
        try:
            async with asyncio.timeout(REACH_S if request.elsewhere else None):
                return url, *await _connected(url, tls, server_name)
        except OSError as error:
            failures.append(error)
    raise failures[0]


async def _connected(
    url: str, tls: ssl.SSLContext | None, server_name: str | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    return await asyncio.open_connection(
        parts.hostname,
        parts.port or (443 if secure else 80),
        ssl=tls if secure else None,
        server_hostname=server_name if secure else None,
        limit=MAX_LINE_BYTES,
    )


async def _response(reader: asyncio.StreamReader) -> Response:
    version, _, rest = (await _line(reader)).partition(" ")
    code = rest[:3]
    if not version.startswith("HTTP/1.") or not code.isdigit():
        raise BrokenAnswerError("the answer is not HTTP/1.1")
    headers: dict[str, str] = {}
    while line := await _line(reader):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    if int(code) in NO_BODY:
        headers["content-length"] = "0"
    return Response(int(code), headers, reader)


async def _line(reader: asyncio.StreamReader) -> str:
    try:
        raw = await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError as error:
        raise BrokenAnswerError("a line of the answer is too long") from error
    return raw.rstrip(b"\r\n").decode("latin-1")


def _chunk_size(line: str) -> int:
    try:
        return int(line.partition(";")[0], 16)
    except ValueError:
        raise BrokenAnswerError(f"{line[:40]!r} is no chunk size") from None
