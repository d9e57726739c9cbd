"""One HTTP/1.1 request to an engine on this machine, with a deadline. No client library: the agent stays small."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import httptools

HOST = "127.0.0.1"
MAX_BODY = 4 << 20


class NoAnswer(Exception):  # noqa: N818 - an ordinary outcome of asking
    """Nothing listens, it took too long, or what came was not HTTP."""


@dataclass(slots=True)
class Answer:
    """Filled by the parser as the bytes come in."""

    status: int = 0
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False

    def on_body(self, body: bytes) -> None:
        self.body += body
        if len(self.body) > MAX_BODY:
            raise NoAnswer("the answer is too long")

    def on_message_complete(self) -> None:
        self.complete = True


async def get(
    port: int, path: str, patience: timedelta, headers: Mapping[str, str] | None = None, host: str = HOST
) -> Answer:
    """GET over a connection of its own; NoAnswer for anything but a whole answer in time."""
    try:
        async with asyncio.timeout(patience.total_seconds()):
            return await _exchange(host, port, _request("GET", host, port, path, headers or {}))
    except (OSError, httptools.HttpParserError) as error:
        raise NoAnswer(str(error) or type(error).__name__) from error


async def post(
    port: int, path: str, content: bytes, patience: timedelta, headers: Mapping[str, str] | None = None
) -> Answer:
    """POST of JSON, by the same rules."""
    fields = {"content-type": "application/json", "content-length": str(len(content)), **(headers or {})}
    try:
        async with asyncio.timeout(patience.total_seconds()):
            return await _exchange(HOST, port, _request("POST", HOST, port, path, fields) + content)
    except TimeoutError:
        raise NoAnswer("it took too long") from None
    except (OSError, httptools.HttpParserError) as error:
        raise NoAnswer(str(error) or type(error).__name__) from error


async def listens(host: str, port: int, patience: timedelta) -> bool:
    try:
        async with asyncio.timeout(patience.total_seconds()):
            _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.transport.abort()
    return True


async def _exchange(host: str, port: int, request: bytes) -> Answer:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request)
        return await _answer(reader)
    finally:
        writer.transport.abort()


def _request(method: str, host: str, port: int, path: str, headers: Mapping[str, str]) -> bytes:
    fields = {"host": f"{host}:{port}", "connection": "close", **headers}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("ascii")


async def _answer(reader: asyncio.StreamReader) -> Answer:
    answer = Answer()
    parser = httptools.HttpResponseParser(answer)
    while not answer.complete:
        chunk = await reader.read(1 << 16)
        if not chunk:
            raise NoAnswer("the connection was closed early")
        parser.feed_data(chunk)
        answer.status = parser.get_status_code()
    return answer
