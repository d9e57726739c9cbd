"""Requests that wait until what they name is loaded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.refusals import GatewayRefusal, Loading, NoRoom
from gateway.settings import GatewaySettings
from tests.fakes.data_path import TOKEN
from tests.fakes.http_talk import Reply, Talk, talking
from tests.fakes.relay_rig import MODEL, Rig, rigged, until

CHAT, MESSAGES, OLLAMA = "/v1/chat/completions", "/v1/messages", "/api/chat"
LOADING = Loading("tiny is loading.", "Send the request again.", runtime=MODEL, retry_after=7)
QUICK = GatewaySettings(loading_tick=0.02)
HI = [{"role": "user", "content": "hi"}]


def chat(*, stream: bool = True, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "stream": stream, "messages": HI, "max_tokens": 8, **more}


@asynccontextmanager
async def asleep(folder: Path, settings: GatewaySettings = QUICK) -> AsyncIterator[Rig]:
    async with rigged(folder, unix=True, settings=settings) as rig:
        rig.routes.table[MODEL] = replace(rig.route(), on_demand=True)
        rig.routes.loading[MODEL] = LOADING
        yield rig


def loaded(rig: Rig) -> None:
    del rig.routes.loading[MODEL]
    rig.gateway.look_again()


def fails(rig: Rig, refusal: GatewayRefusal) -> None:
    rig.routes.refused[MODEL] = refusal
    loaded(rig)


def ask(talk: Talk, body: Any, path: str = CHAT) -> None:
    talk.ask("POST", path, body, authorization=TOKEN)


async def told(talk: Talk, mark: bytes) -> bytes:
    """What came until `mark`, which is in it."""
    data = b""
    while mark not in data:
        data += await talk.reader.read(65536)
    return data


async def test_a_request_waits_and_many_of_them_wake_once_each_and_all_are_answered(short_folder: Path) -> None:
    async with asleep(short_folder, GatewaySettings(loading_tick=60)) as rig, asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(whole(rig, chat(stream=False))) for _ in range(5)]
        await until(lambda: len(rig.routes.woken) == 5)
        loaded(rig)
        replies = await asyncio.gather(*asked)
    assert {reply.status for reply in replies} == {200}
    assert len(rig.engine.requests) == 5
    assert rig.routes.woken == [MODEL] * 5


async def whole(rig: Rig, body: Any, path: str = CHAT) -> Reply:
    async with talking(rig.port) as talk:
        ask(talk, body, path)
        return await talk.reply()


async def test_a_stream_is_told_that_it_waits_and_then_gets_the_engines_words(short_folder: Path) -> None:
    async with asleep(short_folder) as rig, talking(rig.port) as talk:
        ask(talk, chat(stub={"tokens": 3}))
        begun = await told(talk, b": loading tiny is loading.\n\n")
        assert begun.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
        loaded(rig)
        rest = await told(talk, b"0\r\n\r\n")
        assert rest.count(b"HTTP/1.1") == 0
        assert rest.count(b"data: {") >= 3
        assert b"data: [DONE]" in rest
        ask(talk, chat(stream=False))
        assert (await talk.reply()).status == 200


async def test_a_stream_that_waited_in_vain_ends_in_the_dialects_error(short_folder: Path) -> None:
    refusal = NoRoom("No memory is left.", "Stop something.", retry_after=5)
    for path, mark in ((CHAT, b'data: {"error":'), (MESSAGES, b'event: error\ndata: {"type":"error"')):
        async with asleep(short_folder) as rig, talking(rig.port) as talk:
            ask(talk, chat(), path)
            await told(talk, b": loading")
            fails(rig, refusal)
            end = await told(talk, b"0\r\n\r\n")
            assert mark in end
            assert b"No memory is left." in end


async def test_ollamas_lines_have_no_comments(short_folder: Path) -> None:
    async with asleep(short_folder) as rig, talking(rig.port) as talk:
        ask(talk, chat(stub={"tokens": 2}), OLLAMA)
        await until(lambda: len(rig.routes.woken) > 5)
        loaded(rig)
        reply = await talk.reply()
    assert reply.status == 200
    assert all(json.loads(line) for line in reply.body.splitlines())


async def test_ollamas_order_to_load_a_model_is_answered_when_it_is_loaded(short_folder: Path) -> None:
    async with asleep(short_folder) as rig, talking(rig.port) as talk:
        ask(talk, {"model": MODEL}, "/api/generate")
        await until(lambda: bool(rig.routes.woken))
        loaded(rig)
        assert (await talk.reply()).json()["done_reason"] == "load"


async def test_what_is_not_loaded_in_time_is_refused_with_a_time_to_come_back(short_folder: Path) -> None:
    async with asleep(short_folder, GatewaySettings(loading_tick=0.01, loading_timeout=0.05)) as rig:
        reply = await whole(rig, chat(stream=False))
    assert (reply.status, reply.headers["retry-after"]) == (503, "7")
    assert reply.json()["error"]["message"] == "tiny is loading."


async def test_one_more_than_may_wait_is_refused_at_once(short_folder: Path) -> None:
    async with asleep(short_folder, GatewaySettings(loading_length=1)) as rig, talking(rig.port) as first:
        ask(first, chat(stream=False))
        await until(lambda: bool(rig.routes.woken))
        reply = await whole(rig, chat(stream=False))
        assert (reply.status, reply.headers["retry-after"]) == (503, "7")
        loaded(rig)
        assert (await first.reply()).status == 200


async def test_a_client_that_leaves_makes_room_for_another(short_folder: Path) -> None:
    async with asleep(short_folder, GatewaySettings(loading_length=1)) as rig:
        async with talking(rig.port) as first:
            ask(first, chat(stream=False))
            await until(lambda: bool(rig.routes.woken))
        await until(lambda: not rig.gateway.loading)
        async with talking(rig.port) as second:
            ask(second, chat(stream=False))
            await until(lambda: rig.gateway.loading == 1)
            loaded(rig)
            assert (await second.reply()).status == 200
    assert len(rig.engine.requests) == 1


async def test_a_request_that_the_node_refuses_because_it_unloads_waits_and_is_answered(short_folder: Path) -> None:
    async with asleep(short_folder) as rig:
        loaded(rig)
        doors, rig.doors.doors = rig.doors.doors, {}
        async with talking(rig.port) as talk:
            ask(talk, chat(stream=False))
            await until(lambda: bool(rig.routes.woken))
            rig.doors.doors = doors
            assert (await talk.reply()).status == 200
