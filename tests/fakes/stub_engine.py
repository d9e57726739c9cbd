"""An engine that speaks llama.cpp's OpenAI dialect, does what its requests ask of it, and remembers what it saw."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from wire.http_head import Limits, Request, RequestReader

KEY = "engine-key"
LONG_EVENT = b"data: %b\n\n" % json.dumps({"choices": [{"delta": {"content": "x" * 65_484}}]}).encode()


@dataclass(slots=True)
class StubEngine:
    """Requests may carry "stub": {tokens, interval_ms, break_after, delay_ms, flood_mib, events, garbage, status,
    raw}; `raw` is said as it is, and nothing more."""

    requests: list[Request] = field(default_factory=list)
    connections: list[_Conversation] = field(default_factory=list)
    closed_in_answer: int = 0
    """Connections that ended before their answer did."""
    cut_on_reuse: bool = False
    """Close a kept-alive connection without a word when its second request comes."""
    asked: dict[str, Any] = field(default_factory=dict)
    """In place of "stub", where a request cannot say it."""
    port: int = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[StubEngine]:
        server = await asyncio.get_running_loop().create_server(lambda: _Conversation(self), "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.kill()

    def kill(self) -> None:
        for connection in self.connections:
            connection.transport.abort()

    @property
    def open_connections(self) -> int:
        return sum(not connection.transport.is_closing() for connection in self.connections)


def tokens(count: int, seed: str = "") -> list[str]:
    return [f"{seed}tok{index} é" for index in range(count)]


def usage(count: int) -> dict[str, int]:
    return {"prompt_tokens": 7, "completion_tokens": count, "total_tokens": 7 + count}


def timings(count: int) -> dict[str, float]:
    return {"cache_n": 3, "prompt_n": 4, "prompt_ms": 1.5, "predicted_n": count, "predicted_ms": 9.5}


def stream_pieces(count: int, seed: str = "") -> Iterator[bytes]:
    """The chunks of a streamed answer, framing included."""
    first: dict[str, Any] = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]}
    parts = [first, *({"choices": [{"index": 0, "delta": {"content": text}}]} for text in tokens(count, seed))]
    parts.append({"choices": [], "usage": usage(count), "timings": timings(count)})
    for part in parts:
        yield chunk(b"data: " + json.dumps(part).encode() + b"\n\n")
    yield chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def stream_body(count: int, seed: str = "") -> bytes:
    """All of it, as it crosses the wire."""
    return b"".join(stream_pieces(count, seed))


def _said(asked: dict[str, Any]) -> dict[str, Any]:
    """What the last message asks for, where a translation leaves nothing else: "stub {...}"."""
    last = (asked.get("messages") or [{}])[-1].get("content")
    found: dict[str, Any] = json.loads(last[5:]) if isinstance(last, str) and last.startswith("stub ") else {}
    return found


class _Conversation(asyncio.Protocol):
    def __init__(self, engine: StubEngine) -> None:
        self._engine = engine
        self._reader = RequestReader(Limits(), lambda _: None, self._answer)
        self._answering = False
        self._served = 0
        self._room = asyncio.Event()
        self._room.set()
        self.sent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._engine.connections.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._room.set()
        self._engine.closed_in_answer += self._answering

    def data_received(self, data: bytes) -> None:
        if self._engine.cut_on_reuse and self._served:
            self.transport.abort()
        else:
            self._reader.feed(data)

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()
        if self._flood_left:
            self._flood()

    _flood_left = 0
    _flood_of = b""

    def _answer(self, request: Request) -> None:
        self._engine.requests.append(request)
        is_form = (request.header(b"content-type") or b"").startswith(b"multipart/")
        asked = {} if is_form else json.loads(request.body or b"{}")
        stub = self._engine.asked or asked.get("stub") or _said(asked)
        self._answering = True
        asyncio.get_running_loop().call_later(stub.get("delay_ms", 0) / 1000, self._begin, request, asked, stub)

    def _begin(self, request: Request, asked: dict[str, Any], stub: dict[str, Any]) -> None:
        if stub.get("garbage"):
            self._send(b"this is not HTTP\r\n\r\n")
        elif stub.get("raw"):
            self._send(stub["raw"].encode())
        elif request.header(b"authorization") != b"Bearer " + KEY.encode():
            self._whole(401, {"error": {"code": 401, "message": "Invalid API Key"}})
        elif stub.get("status"):
            self._whole(stub["status"], {"error": {"code": stub["status"], "message": "No."}})
        elif stub.get("flood_mib"):
            self._flood_left = stub["flood_mib"] * 16
            self._flood_of = LONG_EVENT if stub.get("events") else b"x" * 65536
            self._send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            self._flood()
        elif asked.get("stream"):
            self._send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            self._next(stream_pieces(stub.get("tokens", 3), stub.get("seed", "")), 0, stub)
        elif request.path.startswith(b"/v1/audio/"):
            self._whole(200, {"text": " heard\n"})
        elif request.path.endswith(b"/embeddings"):
            self._whole(200, {"object": "list", "usage": usage(0), "data": [{"embedding": [0.25] * 4096}]})
        else:
            message = {"role": "assistant", "content": "hello"}
            self._whole(200, {"choices": [{"message": message}], "usage": usage(3), "timings": timings(3)})

    def _next(self, pieces: Iterator[bytes], sent: int, stub: dict[str, Any]) -> None:
        if self.transport.is_closing():
            return
        if sent == stub.get("break_after"):
            self.transport.abort()
            return
        piece = next(pieces, None)
        if piece is None:
            self._over()
            return
        self._send(piece)
        interval = stub.get("interval_ms", 0) / 1000
        asyncio.get_running_loop().call_later(interval, self._next, pieces, sent + 1, stub)

    def _flood(self) -> None:
        while self._flood_left and self._room.is_set() and not self.transport.is_closing():
            self._flood_left -= 1
            self._send(chunk(self._flood_of))
        if not self._flood_left:
            self._send(b"0\r\n\r\n")
            self._over()

    def _whole(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self._send(head.encode() + body)
        self._over()

    def _send(self, data: bytes) -> None:
        self.sent += len(data)
        self.transport.write(data)

    def _over(self) -> None:
        self._answering = False
        self._served += 1
