"""What clients and engines can do to a gateway that holds their bytes. Counted, never timed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.client import ClientConnection
from gateway.settings import GatewaySettings
from tests.fakes.data_path import TOKEN
from tests.fakes.http_talk import Reply, Talk, request, talking
from tests.fakes.relay_rig import MODEL, Rig, rigged, until
from tests.fakes.stub_engine import stream_body
from wire.http_head import Limits

CHAT, MESSAGES, OLLAMA, DESCRIBE = "/v1/chat/completions", "/v1/messages", "/api/chat", "/tools/vision.describe"
KEYS = {
    CHAT: {"error"},
    MESSAGES: {"type", "error", "request_id"},
    OLLAMA: {"error"},
    DESCRIBE: {"type", "title", "status", "detail", "code", "trace_id", "remedy"},
}
"""Of an error in the dialect of each path."""


@pytest.fixture
async def strict(short_folder: Path) -> AsyncIterator[Rig]:
    settings = GatewaySettings(limits=Limits(body_bytes=100_000), held_bytes=200_000)
    async with rigged(short_folder, unix=True, settings=settings) as made:
        yield made


@pytest.fixture
async def hasty(short_folder: Path) -> AsyncIterator[Rig]:
    async with rigged(short_folder, unix=True, settings=GatewaySettings(head_timeout=0.1, body_timeout=0.1)) as made:
        yield made


def asked(path: str, **stub: Any) -> bytes:
    body = {"model": MODEL, "stub": stub, "messages": [{"role": "user", "content": "stub " + json.dumps(stub)}]}
    return request("POST", path, body, authorization=TOKEN)


def begun(path: str, more: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nauthorization: {TOKEN}\r\n{more}".encode()


async def answer(port: int, data: bytes) -> Reply:
    async with talking(port) as talk:
        talk.send(data)
        return await talk.reply()


@pytest.mark.parametrize("path", KEYS)
@pytest.mark.parametrize(
    ("rest", "status"),
    [
        (b"x: y\r\n" * 10_000 + b"\r\n", 431),
        (b"x: " + b"y" * 1_000_000 + b"\r\n\r\n", 431),
        (b"x y: z\r\n\r\n", 400),
        (b"content-length: 1073741824\r\n\r\n", 413),
        (b"transfer-encoding: chunked\r\n\r\n" + (b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n") * 16, 413),
        (b"transfer-encoding: chunked\r\n\r\n0\r\nx: " + b"y" * 1_000_000, 431),
        (b"transfer-encoding: chunked\r\n\r\n2\r\nhi!!", 400),
        (b"transfer-encoding: gzip, chunked\r\n\r\n", 400),
        (b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n", 400),
    ],
    ids=["headers", "line", "grammar", "declared", "chunked", "trailer", "chunk", "coding", "smuggled"],
)
async def test_whatever_is_wrong_with_a_request_is_said_in_the_dialect_of_its_path(
    strict: Rig, path: str, rest: bytes, status: int
) -> None:
    reply = await answer(strict.port, begun(path) + rest)
    assert (reply.status, set(reply.json())) == (status, KEYS[path])
    assert reply.headers["connection"] == "close"
    assert not strict.engine.requests


@pytest.mark.parametrize("path", [MESSAGES, OLLAMA])
@pytest.mark.parametrize("rest", [b"x: never en", b"content-length: 2\r\n\r\n{"])
async def test_what_does_not_arrive_in_time_is_said_in_the_dialect_of_its_path(
    hasty: Rig, path: str, rest: bytes
) -> None:
    reply = await answer(hasty.port, begun(path) + rest)
    assert (reply.status, set(reply.json())) == (408, KEYS[path])


_MESSAGES = b'"messages":[{"role":"user","content":"hi"}]'


@pytest.mark.parametrize("path", [CHAT, MESSAGES, OLLAMA])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"model":"tiny\\u0000",' + _MESSAGES + b"}", 404),
        (b'{"model":"tiny\0",' + _MESSAGES + b"}", 400),
        (b'{"model":"\\ud800",' + _MESSAGES + b"}", 400),
        (b'{"model":"tiny","model":"nope",' + _MESSAGES + b"}", 404),
        (b'{"model":"tiny",' + _MESSAGES + b',"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}", 400),
        (b'\xef\xbb\xbf{"model":"tiny",' + _MESSAGES + b"}", 400),
    ],
    ids=["nul", "raw nul", "half a pair", "twice", "deep", "mark"],
)
async def test_a_body_that_could_be_read_in_two_ways_reaches_no_engine(
    strict: Rig, path: str, body: bytes, status: int
) -> None:
    reply = await answer(strict.port, request("POST", path, body, authorization=TOKEN))
    assert (reply.status, set(reply.json())) == (status, KEYS[path])
    assert not strict.engine.requests


async def test_of_a_thousand_requests_in_one_piece_few_are_read_before_their_turn(unix_rig: Rig) -> None:
    async with talking(unix_rig.port) as talk:
        talk.send(asked(CHAT, delay_ms=60_000) + request("GET", "/healthz") * 100_000)
        await until(lambda: bool(unix_rig.engine.requests))
        client = only(unix_rig)
        await until(lambda: client._later_size > 64 * 1024)
        # One read of the loop is at most 256 KiB.
        assert len(client._waiting) * 32 < 16 * 1024
        assert client._later_size < 512 * 1024
        unix_rig.engine.kill()


def only(rig: Rig) -> ClientConnection:
    (client,) = rig.gateway._clients
    return client


async def test_what_clients_hold_is_bounded_together_and_given_back(strict: Rig) -> None:
    holding, half = strict.gateway.holding, b"x" * 90_000
    async with AsyncExitStack() as stack:
        for count in (1, 2):
            talk = await stack.enter_async_context(talking(strict.port))
            talk.send(begun(CHAT, "content-length: 99000\r\n\r\n") + half)
            await until(lambda count=count: holding.bytes == count * len(half))  # type: ignore[misc]
        refused = await answer(strict.port, begun(MESSAGES, "content-length: 99000\r\n\r\n") + half)
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert set(refused.json()) == KEYS[MESSAGES]
        small = await answer(strict.port, asked(CHAT))
        assert small.status == 200
    await until(lambda: holding.bytes == 0)


async def test_a_request_is_kept_until_its_answer_begins_and_no_longer(unix_rig: Rig) -> None:
    holding = unix_rig.gateway.holding
    async with talking(unix_rig.port) as talk:
        body = {"model": MODEL, "stream": True, "stub": {"tokens": 10_000, "interval_ms": 2}, "pad": "x" * 1_000_000}
        talk.ask("POST", CHAT, body, authorization=TOKEN)
        await until(lambda: holding.bytes > 1_000_000)
        await talk.reader.readuntil(b"tok1")
        assert holding.bytes == 0


async def test_a_thousand_connections_that_say_nothing_keep_nobody_out(strict: Rig) -> None:
    async with AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(talking(strict.port)) for _ in range(1000)]
        await until(lambda: len(strict.gateway._clients) == len(idle))
        assert (await answer(strict.port, asked(CHAT))).status == 200
    await until(lambda: not strict.gateway._clients)


async def test_who_closes_his_half_gets_what_is_ready_and_ends_what_is_not(unix_rig: Rig) -> None:
    async with talking(unix_rig.port) as talk:
        talk.send(request("GET", "/v1/models", authorization=TOKEN))
        talk.writer.write_eof()
        assert (await talk.reply()).status == 200
    async with talking(unix_rig.port) as talk:
        talk.send(asked(CHAT, delay_ms=60_000))
        await until(lambda: bool(unix_rig.engine.requests))
        talk.writer.write_eof()
        await until(lambda: unix_rig.engine.closed_in_answer == 1)


ENDLESS = "HTTP/1.1 200 OK\r\n" + "x: y\r\n" * 60_000
TWICE = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 2\r\n\r\nhi" * 2
GARBLED = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nZZ\r\n"


@pytest.mark.parametrize("path", [CHAT, MESSAGES, OLLAMA])
@pytest.mark.parametrize(
    "raw",
    [ENDLESS, "HTTP/1.1 103 Early\r\n\r\n" * 20_000, TWICE, GARBLED, "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"],
    ids=["endless", "interim", "twice", "garbled", "length"],
)
async def test_an_engine_that_answers_nonsense_is_a_bad_gateway_in_the_dialect(
    unix_rig: Rig, path: str, raw: str
) -> None:
    """Before anything of it was handed on. What the node's agent finds first, it says in its own words."""
    reply = await answer(unix_rig.port, asked(path, raw=raw))
    assert (reply.status, set(reply.json())) == (502, KEYS[path])


async def test_an_answer_that_has_to_be_whole_has_a_limit(unix_rig: Rig) -> None:
    body = {"model": MODEL, "image": "data:image/png;base64,AA", "prompt": "x", "stub": {"flood_mib": 80}}
    unix_rig.engine.asked = {"flood_mib": 80}
    reply = await answer(unix_rig.port, request("POST", DESCRIBE, body, authorization=TOKEN))
    assert (reply.status, set(reply.json())) == (502, KEYS[DESCRIBE])
    assert "too large" in reply.json()["detail"]


_WORDS = [{"role": "user", "content": "hi"}]


def old(data: bytes) -> bytes:
    return data.replace(b"HTTP/1.1", b"HTTP/1.0", 1)


async def everything(talk: Talk) -> bytes:
    return await talk.reader.read(-1)


async def test_a_client_of_http_1_0_gets_its_stream_without_chunks(unix_rig: Rig) -> None:
    async with talking(unix_rig.port) as talk:
        talk.send(old(request("POST", CHAT, {"model": MODEL, "stream": True}, authorization=TOKEN)))
        head, _, body = (await everything(talk)).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    events = b"".join(stream_body(3).split(b"\r\n")[1::2])
    assert body == events
    async with talking(unix_rig.port) as talk:
        talk.send(old(request("POST", OLLAMA, {"model": MODEL, "messages": _WORDS}, authorization=TOKEN)))
        assert json.loads((await everything(talk)).splitlines()[-1])["done"]


async def test_half_an_answer_without_framing_is_never_made_to_look_whole(unix_rig: Rig) -> None:
    body = {"model": MODEL, "stream": True, "stub": {"tokens": 50, "break_after": 40, "interval_ms": 1}}
    async with talking(unix_rig.port) as talk:
        talk.send(old(request("POST", CHAT, body, authorization=TOKEN)))
        with pytest.raises(ConnectionResetError):
            await everything(talk)
