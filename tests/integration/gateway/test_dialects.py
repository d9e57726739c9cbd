"""Clients of other systems at a real gateway, over real sockets, with an engine that does what it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.ports import Task, Tokens
from gateway.settings import GatewaySettings
from tests.fakes.data_path import TOKEN
from tests.fakes.forms import FORM, upload
from tests.fakes.http_talk import Reply, talking
from tests.fakes.relay_rig import MODEL, Rig, rigged, until
from tests.fakes.stub_engine import tokens

MESSAGES, CHAT, GENERATE, EMBED = "/v1/messages", "/api/chat", "/api/generate", "/api/embed"
DESCRIBE = "/tools/vision.describe"
KEY = TOKEN.removeprefix("Bearer ")
PATHS = [MESSAGES, CHAT, DESCRIBE]


def turns(**stub: Any) -> dict[str, Any]:
    """What asks the engine for it through a translation."""
    words = "stub " + json.dumps(stub) if stub else "hi"
    return {"model": MODEL, "messages": [{"role": "user", "content": words}]}


async def ask(port: int, path: str, body: Any, method: str = "POST", **headers: str) -> Reply:
    async with talking(port) as talk:
        talk.ask(method, path, body, **({"authorization": TOKEN} | headers))
        return await talk.reply()


def words(reply: Reply) -> str:
    """Of an error, in whichever shape."""
    found = reply.json()
    error = found.get("error", found)
    return str(error if isinstance(error, str) else error.get("message", error.get("detail")))


async def test_a_message_is_answered_by_a_chat_and_metered_with_the_engines_counts(rig: Rig) -> None:
    reply = await ask(rig.port, MESSAGES, turns(), accept_encoding="gzip", anthropic_version="2023-06-01")
    assert (reply.status, reply.json()["content"]) == (200, [{"type": "text", "text": "hello"}])
    seen = rig.engine.requests[0]
    assert seen.path == b"/v1/chat/completions"
    assert seen.header(b"accept-encoding") is None
    exchange = await rig.meter.next()
    assert (exchange.path, exchange.tokens, exchange.complete) == (MESSAGES, Tokens(7, 3), True)


async def test_an_engine_that_speaks_messages_gets_them_as_they_are(unix_rig: Rig) -> None:
    route = unix_rig.route()
    unix_rig.routes.table[MODEL] = replace(route, tasks=route.tasks | {Task.MESSAGES})
    body = {"model": MODEL, "max_tokens": 3, "messages": [{"role": "user", "content": [{"type": "document"}]}]}
    assert (await ask(unix_rig.port, f"{MESSAGES}?beta=true", body)).status == 200
    seen = unix_rig.engine.requests[0]
    assert (seen.target, json.loads(seen.body)) == (b"/v1/messages?beta=true", body)


async def test_streams_are_told_in_the_words_of_each_dialect(rig: Rig) -> None:
    reply = await ask(rig.port, CHAT, turns(tokens=20))
    lines = [json.loads(line) for line in reply.body.splitlines()]
    assert reply.whole
    assert "".join(line["message"]["content"] for line in lines) == "".join(tokens(20))
    assert (await rig.meter.next()).tokens == Tokens(7, 20)
    reply = await ask(rig.port, MESSAGES, turns(tokens=20) | {"stream": True})
    assert reply.headers["content-type"] == "text/event-stream"
    assert reply.body.count(b"event: content_block_delta") == 20
    assert reply.body.endswith(b'data: {"type":"message_stop"}\n\n')


async def test_a_connection_serves_one_dialect_after_the_other(unix_rig: Rig) -> None:
    async with talking(unix_rig.port) as talk:
        for path in (MESSAGES, CHAT, MESSAGES):
            talk.ask("POST", path, turns(tokens=2), authorization=TOKEN)
            assert (await talk.reply()).whole


async def test_the_key_may_come_as_anthropics_clients_send_it(unix_rig: Rig) -> None:
    async with talking(unix_rig.port) as talk:
        talk.ask("POST", MESSAGES, turns(), x_api_key=KEY)
        assert (await talk.reply()).status == 200
        talk.ask("POST", MESSAGES, turns(), x_api_key="wrong")
        refused = await talk.reply()
    assert (refused.status, refused.json()["error"]["type"]) == (401, "authentication_error")
    assert unix_rig.engine.requests[0].header(b"x-api-key") is None


async def test_models_are_listed_as_each_client_wants_them(unix_rig: Rig) -> None:
    openai = (await ask(unix_rig.port, "/v1/models", None, "GET")).json()
    anthropic = (await ask(unix_rig.port, "/v1/models", None, "GET", anthropic_version="2023-06-01")).json()
    ollama = (await ask(unix_rig.port, "/api/tags", None, "GET")).json()
    assert openai["data"][0]["id"] == anthropic["data"][0]["id"] == ollama["models"][0]["name"] == MODEL
    assert (anthropic["has_more"], anthropic["first_id"]) == (False, MODEL)
    one = await ask(unix_rig.port, f"/v1/models/{MODEL}", None, "GET", anthropic_version="2023-06-01")
    assert one.json()["type"] == "model"
    assert (await ask(unix_rig.port, "/api/show", {"name": f"{MODEL}:latest"})).json()["capabilities"] == ["completion"]
    assert (await ask(unix_rig.port, "/api/show", {"name": "nope"})).status == 404
    assert (await ask(unix_rig.port, "/api/version", None, "GET")).json()["version"]


async def test_a_request_without_words_asks_whether_the_model_is_loaded(unix_rig: Rig) -> None:
    assert (await ask(unix_rig.port, CHAT, {"model": MODEL})).json()["done_reason"] == "load"
    assert (await ask(unix_rig.port, GENERATE, {"model": MODEL, "prompt": ""})).json()["response"] == ""
    assert (await ask(unix_rig.port, GENERATE, {"model": "nope"})).status == 404
    assert not unix_rig.engine.requests


async def test_a_picture_is_described_by_a_chat(unix_rig: Rig) -> None:
    body = {"model": MODEL, "image": "data:image/png;base64,iVBORw0KGgo="}
    reply = await ask(unix_rig.port, DESCRIBE, body)
    assert reply.json() == {
        "model": MODEL,
        "text": "hello",
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    }
    sent = json.loads(unix_rig.engine.requests[0].body)["messages"][0]["content"]
    assert [part["type"] for part in sent] == ["image_url", "text"]


async def test_a_recording_is_written_down_by_the_tool_as_by_the_path(unix_rig: Rig) -> None:
    body = upload(b"RIFF")
    reply = await ask(unix_rig.port, "/tools/audio.transcribe", body, content_type=FORM)
    assert reply.json() == {"text": " heard\n"}
    seen = unix_rig.engine.requests[0]
    assert (seen.path, seen.header(b"content-type"), seen.body) == (b"/v1/audio/transcriptions", FORM.encode(), body)


@pytest.mark.parametrize("path", [MESSAGES, CHAT])
async def test_what_an_engine_refuses_is_told_with_its_words_and_status(unix_rig: Rig, path: str) -> None:
    reply = await ask(unix_rig.port, path, turns(status=429))
    assert (reply.status, words(reply)) == (429, "No.")
    assert (await unix_rig.meter.next()).status == 429


@pytest.mark.parametrize("path", [MESSAGES, CHAT])
async def test_an_instance_that_does_not_serve_is_refused_in_the_dialect_with_when_to_retry(
    unix_rig: Rig, path: str
) -> None:
    unix_rig.doors.doors.clear()
    reply = await ask(unix_rig.port, path, turns())
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert "does not serve on this node" in words(reply)


async def test_a_stream_that_an_engine_breaks_off_ends_in_a_typed_error(rig: Rig) -> None:
    reply = await ask(rig.port, MESSAGES, turns(tokens=10, break_after=4) | {"stream": True})
    *_, last = reply.body.decode().strip().split("\n\n")
    assert last.startswith("event: error\n")
    assert "broke off its answer" in last
    assert not (await rig.meter.next()).complete
    reply = await ask(rig.port, CHAT, turns(tokens=10, break_after=4))
    assert "broke off its answer" in json.loads(reply.body.splitlines()[-1])["error"]


@pytest.fixture
async def impatient(short_folder: Path) -> AsyncIterator[Rig]:
    """One that soon gives up an engine that stops."""
    async with rigged(short_folder, unix=True, settings=GatewaySettings(silence_timeout=0.2)) as made:
        yield made


async def test_a_stream_that_stops_ends_in_a_typed_error(impatient: Rig) -> None:
    reply = await ask(impatient.port, CHAT, turns(tokens=3, interval_ms=60_000))
    assert (reply.status, reply.whole) == (200, True)
    assert "stopped in the middle" in json.loads(reply.body.splitlines()[-1])["error"]
    await until(lambda: impatient.engine.closed_in_answer == 1)


async def test_an_engine_that_speaks_no_http_is_a_bad_gateway_in_the_dialect(unix_rig: Rig) -> None:
    reply = await ask(unix_rig.port, CHAT, turns(garbage=True) | {"stream": False})
    assert reply.status == 502
    assert isinstance(reply.json()["error"], str)


async def test_a_client_that_leaves_cancels_a_translated_generation(rig: Rig) -> None:
    async with talking(rig.port) as talk:
        talk.ask("POST", CHAT, turns(tokens=10_000, interval_ms=2), authorization=TOKEN)
        await talk.reader.readuntil(b"tok2")
    await until(lambda: rig.engine.closed_in_answer == 1)
    assert (await rig.meter.next()).abandoned


async def test_who_does_not_read_a_translated_stream_holds_the_engine_back(rig: Rig) -> None:
    mib = 1024 * 1024
    async with talking(rig.port) as talk:
        talk.writer.transport.pause_reading()  # type: ignore[attr-defined]
        talk.ask("POST", CHAT, turns(flood_mib=96, events=True), authorization=TOKEN)
        await until(lambda: bool(rig.engine.connections) and rig.engine.connections[0].sent > mib)
        before = -1
        while before != rig.engine.connections[0].sent:
            before = rig.engine.connections[0].sent
            await asyncio.sleep(0.1)
        assert before < 48 * mib
        talk.writer.transport.resume_reading()  # type: ignore[attr-defined]
        received = 0
        while piece := await talk.reader.read(mib):
            received += len(piece)
            if piece.endswith(b"0\r\n\r\n"):
                break
    assert received > 96 * mib


_BAD = [
    (b'{"model": "tiny", ', 400),
    (b"[]", 400),
    (b'{"model": 3, "messages": []}', 400),
    (b'{"model": "\xff"}', 400),
    (b"[" * 100_000, 400),
    (b"{}", 400),
    (json.dumps(turns() | {"model": "nope", "image": "data:image/png;base64,AA"}).encode(), 404),
]


@pytest.mark.parametrize("path", [*PATHS, "/v1/responses", "/v1/rerank", GENERATE, EMBED, f"{MESSAGES}/count_tokens"])
@pytest.mark.parametrize(("body", "status"), _BAD, ids=["cut", "list", "types", "utf-8", "deep", "empty", "unknown"])
async def test_bad_input_is_refused_in_the_dialects_own_shape_before_any_engine_sees_it(
    unix_rig: Rig, path: str, body: bytes, status: int
) -> None:
    if status == 404 and path in {GENERATE, EMBED}:
        body = json.dumps({"model": "nope", "prompt": "x", "input": "x"}).encode()
    reply = await ask(unix_rig.port, path, body)
    assert reply.status == status, reply.body
    assert words(reply)
    if path.startswith(MESSAGES):
        assert set(reply.json()) == {"type", "error", "request_id"}
    elif path.startswith("/api"):
        assert set(reply.json()) == {"error"}
    elif path.startswith("/tools"):
        assert reply.headers["content-type"] == "application/problem+json"
    assert not unix_rig.engine.requests


@pytest.mark.parametrize("path", PATHS)
async def test_without_a_key_or_with_a_huge_body_nothing_is_read(unix_rig: Rig, path: str) -> None:
    limit = GatewaySettings().limits.body_bytes
    refused = await ask(unix_rig.port, path, turns(), authorization="Bearer wrong")
    assert (refused.status, "wrong or revoked" in words(refused)) == (401, True)
    async with talking(unix_rig.port) as talk:
        talk.ask("POST", path, authorization=TOKEN, content_length=str(limit + 1))
        huge = await talk.reply()
    assert (huge.status, "larger than" in words(huge)) == (413, True)


@pytest.mark.parametrize(
    ("method", "path", "status", "remedy"),
    [
        ("GET", MESSAGES, 405, "Use POST."),
        ("POST", "/api/tags", 405, "Use GET."),
        ("POST", "/api/pull", 404, "/api/chat"),
        ("DELETE", "/api/delete", 404, "/api/tags"),
        ("POST", "/v1/messages/batches", 404, "/v1/messages/count_tokens"),
        ("POST", "/tools/vision.generate", 404, "/tools/vision.describe"),
        ("POST", "/v1/images/generations", 404, "/v1/chat/completions"),
    ],
)
async def test_what_is_not_served_names_what_is(
    unix_rig: Rig, method: str, path: str, status: int, remedy: str
) -> None:
    reply = await ask(unix_rig.port, path, None, method)
    assert reply.status == status
    assert remedy in reply.body.decode()
