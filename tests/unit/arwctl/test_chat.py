from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from arw_client import ArwError, Chat, Prompt, UnreachableError
from arw_client.trace import Trace
from tests.unit.arwctl.conftest import TRUST, Arwctl, context_for, write_context

PROMPT = Prompt("tiny", [{"role": "user", "content": "hello"}], {"max_tokens": 8})


def piece(text: str) -> str:
    return f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}\n\n"


STREAM = [
    piece("Hel"),
    piece("lo \x1b[31m"),
    'data: {"choices":[],"usage":{"completion_tokens":2}}\n\n',
    "data: [DONE]\n\n",
]


def chunked(parts: list[str], *, whole: bool = True) -> bytes:
    head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    body = "".join(f"{len(part.encode()):x}\r\n{part}\r\n" for part in parts)
    return (head + body + ("0\r\n\r\n" if whole else "")).encode()


def sized(status: str, body: dict[str, Any], extra: str = "") -> bytes:
    text = json.dumps(body)
    return f"HTTP/1.1 {status}\r\n{extra}content-length: {len(text)}\r\n\r\n{text}".encode()


def offline(after: str = "0.05") -> bytes:
    said = {"error": {"message": "Node n1 is offline.", "code": "node_offline", "remedy": "Bring it back."}}
    return sized("503 Service Unavailable", said, f"retry-after: {after}\r\n")


def busy(after: str = "0.05") -> bytes:
    said = {"error": {"message": "tiny is restarting.", "code": "not_ready", "remedy": "Wait."}}
    return sized("503 Service Unavailable", said, f"retry-after: {after}\r\n")


class Gateway:
    """Answers each request with the next of `answers`, byte for byte, then again with the last."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.left = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(headers["content-length"]))
        self.requests.append((headers, json.loads(body)))
        writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
        await writer.drain()
        if self.answers[0].endswith(b"wait"):
            await reader.read()
            self.left.set()
        writer.close()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def chat(url: str, patience_s: float = 5) -> Chat:
    return Chat(context_for(TRUST, "127.0.0.1:1", url), Trace(), patience_s)


def silent(_why: str, _pause_s: float) -> None:
    pass


async def test_a_streamed_reply_comes_in_pieces_with_its_usage() -> None:
    gateway = Gateway(chunked(STREAM))
    async with gateway.serving() as url:
        pieces = [each async for each in chat(url).stream(PROMPT, silent)]
    assert [each.text for each in pieces] == ["Hel", "lo \x1b[31m", ""]
    assert pieces[-1].usage == {"completion_tokens": 2}
    headers, asked = gateway.requests[0]
    assert headers["authorization"] == "Bearer id.secret"
    assert headers["traceparent"].startswith("00-")
    assert asked["stream"] is True
    assert asked["max_tokens"] == 8


async def test_pieces_cut_anywhere_are_put_together() -> None:
    text = "".join(STREAM)
    gateway = Gateway(chunked([text[start : start + 7] for start in range(0, len(text), 7)]))
    async with gateway.serving() as url:
        assert "".join([each.text async for each in chat(url).stream(PROMPT, silent)]) == "Hello \x1b[31m"


async def test_a_restarting_runtime_is_waited_for_and_the_reason_is_told() -> None:
    told: list[tuple[str, float]] = []
    gateway = Gateway(busy(), busy(), sized("200 OK", {"choices": []}))
    async with gateway.serving() as url:
        answer = await chat(url).reply(PROMPT, lambda why, pause_s: told.append((why, pause_s)))
    assert answer == {"choices": []}
    assert told == [("tiny is restarting.", 0.05)] * 2


async def test_patience_ends_with_the_last_reason() -> None:
    async with Gateway(busy("60")).serving() as url:
        with pytest.raises(ArwError, match="tiny is restarting") as raised:
            await chat(url, patience_s=0.2).reply(PROMPT, silent)
    assert raised.value.reason == "NOT_READY"
    assert raised.value.remedy == "Wait."


async def test_an_offline_node_is_not_waited_for_unless_asked() -> None:
    gateway = Gateway(busy(), offline(), sized("200 OK", {"choices": []}))
    async with gateway.serving() as url:
        with pytest.raises(ArwError, match="Node n1 is offline") as raised:
            await chat(url).reply(PROMPT, silent)
    assert (raised.value.reason, raised.value.remedy) == ("NODE_OFFLINE", "Bring it back.")
    assert len(gateway.requests) == 2


async def test_an_offline_node_is_waited_for_as_long_as_the_command_says(run: Arwctl, tmp_path: Any) -> None:
    whole = {"choices": [{"message": {"content": "Hello"}}]}
    async with Gateway(offline(), offline(), sized("200 OK", whole)).serving() as url:
        context = write_context(tmp_path, context_for(TRUST, "127.0.0.1:1", url))
        at_once = await run("chat", "-m", "tiny", "hello", "--context", context)
        waited = await run("chat", "-m", "tiny", "--wait", "5s", "hello", "--context", context)
    assert (at_once.code, at_once.err.splitlines()[-2:]) == (
        1,
        ["error: Node n1 is offline.", "next:  Bring it back."],
    )
    assert (waited.code, waited.out) == (0, "Hello\n")
    assert "waiting 0.05 s: Node n1 is offline." in waited.err


async def test_an_unknown_model_is_refused_at_once() -> None:
    said = {"error": {"message": "There is no runtime 'tiny'.", "code": "not_found"}}
    gateway = Gateway(sized("404 Not Found", said))
    async with gateway.serving() as url:
        with pytest.raises(ArwError, match="no runtime"):
            await chat(url).reply(PROMPT, silent)
    assert len(gateway.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        chunked(STREAM[:2]),
        chunked(STREAM[:2], whole=False),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\ndata: nojson",
    ],
)
async def test_an_answer_that_breaks_off_is_told_and_never_taken_for_whole(answer: bytes) -> None:
    async with Gateway(answer).serving() as url:
        with pytest.raises(UnreachableError, match="broke off"):
            [each async for each in chat(url).stream(PROMPT, silent)]


@pytest.mark.parametrize(
    ("error", "reason", "remedy"),
    [
        ('{"message": "out of memory"}', "ENGINE_FAILED", "See `arwctl runtime logs`."),
        ('"out of memory"', "ENGINE_FAILED", "See `arwctl runtime logs`."),
        ('{"message": "out of memory", "code": "oom", "remedy": "Ask less."}', "OOM", "Ask less."),
    ],
)
async def test_an_error_inside_a_stream_is_raised(error: str, reason: str, remedy: str) -> None:
    async with Gateway(chunked([STREAM[0], f'data: {{"error": {error}}}\n\n'])).serving() as url:
        with pytest.raises(ArwError, match="^out of memory") as raised:
            [each async for each in chat(url).stream(PROMPT, silent)]
    assert (raised.value.text, raised.value.reason, raised.value.remedy) == ("out of memory", reason, remedy)


async def test_the_command_tells_the_remedy_on_a_line_of_its_own(run: Arwctl, tmp_path: Any) -> None:
    said = {"error": {"message": "tiny is shut down.", "code": "not_ready", "remedy": "Restore it."}}
    async with Gateway(sized("503 Service Unavailable", said)).serving() as url:
        context = write_context(tmp_path, context_for(TRUST, "127.0.0.1:1", url))
        told = await run("chat", "-m", "tiny", "hello", "--context", context)
    assert told.err.splitlines()[-2:] == ["error: tiny is shut down.", "next:  Restore it."]


async def test_leaving_a_stream_closes_its_connection() -> None:
    gateway = Gateway(chunked(STREAM[:1], whole=False) + b"4\r\nwait")
    async with gateway.serving() as url:
        async with aclosing(chat(url).stream(PROMPT, silent)) as pieces:
            assert (await anext(pieces)).text == "Hel"
        await asyncio.wait_for(gateway.left.wait(), 5)


async def test_nothing_listening_names_the_address() -> None:
    with pytest.raises(UnreachableError, match="Nothing answers at http://127.0.0.1:1"):
        await chat("http://127.0.0.1:1").reply(PROMPT, silent)


async def test_the_command_prints_the_reply_without_terminal_escapes(run: Arwctl, tmp_path: Any) -> None:
    async with Gateway(chunked(STREAM)).serving() as url:
        context = write_context(tmp_path, context_for(TRUST, "127.0.0.1:1", url))
        said = await run("chat", "-m", "tiny", "hello", "--stream", "--context", context)
    assert (said.code, said.out) == (0, "Hello \\x1b[31m\n")


async def test_the_command_waits_and_says_why(run: Arwctl, tmp_path: Any) -> None:
    whole = {"choices": [{"message": {"content": "Hello"}}], "usage": {"completion_tokens": 1}}
    async with Gateway(busy(), sized("200 OK", whole)).serving() as url:
        context = write_context(tmp_path, context_for(TRUST, "127.0.0.1:1", url))
        said = await run("chat", "-m", "tiny", "hello", "--context", context)
    assert (said.code, said.out) == (0, "Hello\n")
    assert "waiting 0.05 s: tiny is restarting." in said.err
