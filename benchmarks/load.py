"""Clients that stream, each on a connection of its own, and the times at which bytes came.

Run as a process of its own: `python -m benchmarks.load URL --streams 64 --requests 3` prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from typing import cast
from urllib.parse import urlsplit

import httptools
import uvloop


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of many streams gave."""

    seconds: float
    tokens: int
    first_token_ms: float
    """Median time to the first body byte."""
    whole_ms: float
    """Median time of a whole answer."""
    worst_gap_ms: float
    failures: int

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


class Exchange(asyncio.Protocol):
    """One connection that asks again and again."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.first: list[float] = []
        self.whole: list[float] = []
        self.gap = 0.0
        self.tokens = 0
        self.status = 0
        self.failures = 0
        self.transport: asyncio.Transport
        self.done: asyncio.Future[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so

    async def ask(self) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self.parser = httptools.HttpResponseParser(self)
        self.started = self.last = time.perf_counter()
        self.seen = False
        self.transport.write(self.request)
        await self.done

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio calls it so
        if not self.done.done():
            self.failures += 1
            self.done.set_result(None)

    def on_body(self, body: bytes) -> None:
        now = time.perf_counter()
        if not self.seen:
            self.seen = True
            self.first.append((now - self.started) * 1000)
        else:
            self.gap = max(self.gap, (now - self.last) * 1000)
        self.last = now
        self.tokens += body.count(b"token ") or body.count(b"data:")

    def on_message_complete(self) -> None:
        self.whole.append((time.perf_counter() - self.started) * 1000)
        self.failures += self.parser.get_status_code() != 200
        self.done.set_result(None)


def request_for(url: str, model: str, token: str, stream: bool) -> bytes:
    body = json.dumps({"model": model, "stream": stream, "messages": [{"role": "user", "content": "hi"}]}).encode()
    parts = urlsplit(url)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\nauthorization: Bearer {token}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def run(url: str, request: bytes, streams: int, requests: int, warm_up: int) -> Outcome:
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    exchanges = [(await loop.create_connection(lambda: Exchange(request), host, port))[1] for _ in range(streams)]

    async def repeat(exchange: Exchange, count: int) -> None:
        for _ in range(count):
            await exchange.ask()

    await asyncio.gather(*(repeat(exchange, warm_up) for exchange in exchanges))
    for exchange in exchanges:
        exchange.first, exchange.whole, exchange.gap, exchange.tokens, exchange.failures = [], [], 0.0, 0, 0
    started = time.perf_counter()
    await asyncio.gather(*(repeat(exchange, requests) for exchange in exchanges))
    seconds = time.perf_counter() - started
    return Outcome(
        seconds,
        sum(exchange.tokens for exchange in exchanges),
        statistics.median(value for exchange in exchanges for value in exchange.first or [float("inf")]),
        statistics.median(value for exchange in exchanges for value in exchange.whole or [float("inf")]),
        max(exchange.gap for exchange in exchanges),
        sum(exchange.failures for exchange in exchanges),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--requests", type=int, default=3)
    parser.add_argument("--warm-up", type=int, default=1)
    parser.add_argument("--model", default="stub")
    parser.add_argument("--plain", action="store_true", help="ask for whole answers instead of streams")
    options = parser.parse_args()
    # A token on the command line would show in the process list.
    token = sys.stdin.readline().strip()
    request = request_for(options.url, options.model, token, not options.plain)
    outcome = uvloop.run(run(options.url, request, options.streams, options.requests, options.warm_up))
    print(json.dumps(asdict(outcome) | {"tokens_per_second": outcome.tokens_per_second}))
    return 1 if outcome.failures else 0


if __name__ == "__main__":
    sys.exit(main())
