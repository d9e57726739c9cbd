"""A plain HTTP/1.1 client that shows the raw bytes of an answer."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httptools


@dataclass(slots=True)
class Reply:
    status: int
    headers: dict[str, str]
    raw: bytes
    """Everything after the head, framing included."""
    body: bytes
    whole: bool

    def json(self) -> Any:
        return json.loads(self.body)


class Talk:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._left = b""

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> None:
        self.send(request(method, path, body, **headers))

    async def reply(self) -> Reply:
        """The next final answer; `whole` is False when the connection ended first."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = await self._more()
            if not piece:
                return Reply(0, {}, b"", b"", whole=False)
            data += piece
        head, _, data = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        status = int(lines[0].split(" ")[1])
        if "content-length" in headers:
            return await self._framed(status, headers, data)
        return await self._chunked(status, headers, head, data)

    async def _framed(self, status: int, headers: dict[str, str], data: bytes) -> Reply:
        length = int(headers["content-length"])
        while len(data) < length and (piece := await self._more()):
            data += piece
        body, self._left = data[:length], data[length:]
        return Reply(status, headers, body, body, len(body) == length)

    async def _chunked(self, status: int, headers: dict[str, str], head: bytes, data: bytes) -> Reply:
        collector = _Collector()
        parser = httptools.HttpResponseParser(collector)
        parser.feed_data(head + b"\r\n\r\n" + data)
        while not collector.complete and (piece := await self._more()):
            parser.feed_data(piece)
            data += piece
        return Reply(status, headers, data, b"".join(collector.parts), collector.complete)

    async def _more(self) -> bytes:
        piece, self._left = self._left, b""
        return piece or await self.reader.read(65536)

    async def closed(self) -> bool:
        """Whether the server ended the connection, waiting for it."""
        try:
            return await self.reader.read(65536) == b""
        except ConnectionError:
            return True


class _Collector:
    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.complete = False

    def on_body(self, part: bytes) -> None:
        self.parts.append(part)

    def on_message_complete(self) -> None:
        self.complete = True


def request(method: str, path: str, body: Any = None, **headers: str) -> bytes:
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "host: test"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body is not None:
        lines.append(f"content-length: {len(data)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + data


@asynccontextmanager
async def talking(port: int, tls: ssl.SSLContext | None = None, name: str | None = None) -> AsyncIterator[Talk]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=name)
    try:
        yield Talk(reader, writer)
    finally:
        writer.transport.abort()
