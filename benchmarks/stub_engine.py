"""Speaks llama-server's options and streams tokens at a fixed pace: an engine that costs nothing beside the path to it.

The pace comes from the file named like this one's launcher with ".json" appended: {"tokens": 64, "every_ms": 5}.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import cast

import httptools
import uvloop

HELP = """usage: llama-server [options]
-h, --help                 print usage and exit
--version                  show version
--list-devices             print devices and exit
-m, --model FNAME          model path
-a, --alias STRING         model name
-c, --ctx-size N           context
-np, --parallel N          slots
-t, --threads N            threads
-ngl, --n-gpu-layers N     layers on the accelerator
--host HOST                address
--port PORT                port
--api-key-file FNAME       keys
--metrics                  metrics endpoint
--no-warmup                no warm-up
"""
CHUNK = b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"token "}}]}\n\n'
LAST = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":64,"total_tokens":65}}\n\ndata: [DONE]\n\n'


class Pace:
    """How many tokens an answer has, and the time between them."""

    def __init__(self, tokens: int, every_ms: float) -> None:
        self.tokens = tokens
        self.every = every_ms / 1000


class Connection(asyncio.Protocol):
    def __init__(self, alias: str, keys: frozenset[bytes], pace: Pace) -> None:
        self.alias = alias
        self.keys = keys
        self.pace = pace
        self.transport: asyncio.Transport
        self.parser = httptools.HttpRequestParser(self)
        self.url = b""
        self.body = b""
        self.key = b""
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio calls it so
        if self.timer:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.url = self.body = self.key = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"authorization":
            self.key = value.removeprefix(b"Bearer ")

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if self.keys and self.key not in self.keys and not self.url.startswith(b"/health"):
            self._answer({"error": {"code": 401, "message": "Invalid API Key"}}, b"401 Unauthorized")
        elif self.url.startswith(b"/v1/chat/completions"):
            self._chat()
        elif self.url.startswith(b"/v1/models"):
            self._answer({"object": "list", "data": [{"id": self.alias, "object": "model"}]})
        elif self.url.startswith(b"/props"):
            self._answer({"total_slots": 256, "model_alias": self.alias})
        else:
            self._answer({"status": "ok"})

    def _answer(self, value: object, status: bytes = b"200 OK") -> None:
        body = json.dumps(value).encode()
        head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(body))
        self.transport.write(head + body)

    def _chat(self) -> None:
        if not json.loads(self.body).get("stream"):
            self._answer({"object": "chat.completion", "choices": [{"message": {"content": "token"}}]})
            return
        self.transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        self._token(0, asyncio.get_running_loop().time())

    def _token(self, sent: int, due: float) -> None:
        if sent == self.pace.tokens:
            self.transport.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(LAST), LAST))
            return
        self.transport.write(b"%x\r\n%s\r\n" % (len(CHUNK), CHUNK))
        due += self.pace.every
        self.timer = asyncio.get_running_loop().call_at(due, self._token, sent + 1, due)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--pace", type=Path, required=True)
    parser.add_argument("-a", "--alias", default="stub")
    parser.add_argument("--api-key-file", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    return parser.parse_known_args()[0]


async def serve(options: argparse.Namespace) -> None:
    pace = Pace(**json.loads(options.pace.read_text()))
    keys = frozenset(options.api_key_file.read_bytes().split()) if options.api_key_file else frozenset()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(options.alias, keys, pace), options.host, options.port, backlog=1024
    )
    print(f"listening on http://{options.host}:{options.port}", file=sys.stderr, flush=True)
    await server.serve_forever()


def main() -> int:
    if "--help" in sys.argv:
        print(HELP)
    elif "--version" in sys.argv:
        print("version: 1 (stub for benchmarks)", file=sys.stderr)
    elif "--list-devices" in sys.argv:
        print("Available devices:\n  (none)")
    else:
        uvloop.run(serve(arguments()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
