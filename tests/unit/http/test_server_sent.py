from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from control_plane.domain.errors import StorageUnavailable
from control_plane.http.server_sent import ServerSentEvents, frame

SCOPE: MutableMapping[str, Any] = {"type": "http"}


@dataclass
class Client:
    """What it was sent; it stays until it leaves."""

    heard: bytes = b""
    whole: bool = False
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    told: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self) -> MutableMapping[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.heard += message.get("body", b"")
        self.whole = message.get("more_body") is False
        self.told.set()


async def forever() -> AsyncGenerator[bytes, None]:
    yield frame("one", {"n": 1}, "7")
    await asyncio.Event().wait()


async def failing() -> AsyncGenerator[bytes, None]:
    yield frame("one", {})
    raise StorageUnavailable("The disk is gone.", "Mount it.")


async def test_what_cannot_be_read_now_ends_the_stream_with_a_problem() -> None:
    client = Client()
    async with asyncio.timeout(5):
        await ServerSentEvents(failing, lambda: True, "r1")(SCOPE, client.receive, client.send)
    assert client.whole
    last = client.heard.decode().split("\n\n")[-2]
    assert last.startswith("event: service.refused\ndata: ")
    for words in ("The disk is gone.", "Mount it.", "STORAGE_UNAVAILABLE", '"status":503', '"trace_id":"r1"'):
        assert words in last


async def test_a_client_that_leaves_ends_its_stream() -> None:
    client = Client()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        stream = ServerSentEvents(forever, lambda: True, "r1")
        tasks.create_task(stream(SCOPE, client.receive, client.send))
        await client.told.wait()
        client.gone.set()
    assert b'id: 7\nevent: one\ndata: {"n":1}\n\n' in client.heard
    assert b"refused" not in client.heard


async def test_a_silent_stream_beats() -> None:
    client = Client()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        stream = ServerSentEvents(forever, lambda: True, "r1", heartbeat=0.001)
        tasks.create_task(stream(SCOPE, client.receive, client.send))
        while b": heartbeat\n\n" not in client.heard:
            client.told.clear()
            await client.told.wait()
        client.gone.set()


async def test_a_caller_who_is_no_longer_known_is_told_so() -> None:
    client = Client()
    async with asyncio.timeout(5):
        await ServerSentEvents(forever, lambda: False, "r1")(SCOPE, client.receive, client.send)
    assert b"UNAUTHENTICATED" in client.heard
