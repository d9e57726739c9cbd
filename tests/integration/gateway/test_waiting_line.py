"""Requests before an engine that answers few at once, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.ports import Route
from gateway.settings import GatewaySettings
from node_agent.domain.spec import InstanceName
from tests.fakes.data_path import TOKEN, door
from tests.fakes.http_talk import Reply, Talk, talking
from tests.fakes.relay_rig import MODEL, NODE, Rig, rigged, until

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
LONG: dict[str, Any] = {"model": MODEL, "stub": {"delay_ms": 60_000}}
SHORT: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def narrow(short_folder: Path) -> AsyncIterator[Rig]:
    """An engine of one slot, which is sent two at once; two more may wait."""
    async with rigged(short_folder, unix=True, settings=GatewaySettings(line_length=2)) as rig:
        rig.routes.table[MODEL] = replace(rig.route(), slots=1)
        yield rig


async def asking(stack: AsyncExitStack, rig: Rig, body: Any) -> Talk:
    talk = await stack.enter_async_context(talking(rig.port))
    before = rig.routes.given
    talk.ask("POST", CHAT, body, authorization=TOKEN)
    await until(lambda: rig.routes.given > before)
    return talk


async def refused(rig: Rig, path: str) -> Reply:
    async with talking(rig.port) as talk:
        talk.ask("POST", path, SHORT, authorization=TOKEN)
        return await talk.reply()


async def test_an_engine_gets_no_more_than_it_can_answer_and_the_others_in_their_turn(narrow: Rig) -> None:
    async with AsyncExitStack() as stack:
        busy = [await asking(stack, narrow, LONG) for _ in range(2)]
        await until(lambda: len(narrow.engine.requests) == 2)
        waiting = [await asking(stack, narrow, SHORT) for _ in range(2)]
        assert len(narrow.engine.requests) == 2
        busy[0].writer.transport.abort()
        for talk in waiting:
            assert (await talk.reply()).status == 200
        assert len(narrow.engine.requests) == 4
    await until(lambda: narrow.routes.given == 0)


async def test_a_line_that_is_full_says_when_to_come_back_in_the_dialect(narrow: Rig) -> None:
    async with AsyncExitStack() as stack:
        asked = [await asking(stack, narrow, LONG) for _ in range(4)]
        reply = await refused(narrow, CHAT)
        assert (reply.status, reply.json()["error"]["code"], reply.headers["retry-after"]) == (429, "share_full", "2")
        reply = await refused(narrow, MESSAGES)
        assert (reply.status, reply.json()["error"]["type"]) == (429, "rate_limit_error")
        asked[3].writer.transport.abort()
        await until(lambda: narrow.routes.given == 3)
        waiting = await asking(stack, narrow, SHORT)
        asked[0].writer.transport.abort()
        asked[2].writer.transport.abort()
        assert (await waiting.reply()).status == 200


async def test_a_request_that_finds_no_place_goes_where_there_is_one(narrow: Rig) -> None:
    other = InstanceName(f"nodes/{NODE}/instances/other")
    narrow.doors.doors[other] = door(narrow.engine.port)
    async with AsyncExitStack() as stack:
        for _ in range(4):
            await asking(stack, narrow, LONG)
        narrow.routes.others = [Route(other, NODE, "system", 1, MODEL, slots=1)]
        assert (await refused(narrow, CHAT)).status == 200


async def test_those_who_wait_for_a_node_that_goes_are_told_so(narrow: Rig) -> None:
    async with AsyncExitStack() as stack:
        asked = [await asking(stack, narrow, LONG) for _ in range(4)]
        narrow.gate.sessions.clear()
        narrow.gateway.drop_node(NODE)
        replies = await asyncio.gather(*(talk.reply() for talk in asked))
    assert {reply.status for reply in replies} <= {502, 503}
    await until(lambda: narrow.routes.given == 0)
