"""The life of one stream of server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec
from starlette.types import Receive, Scope, Send

from control_plane.http.problems import UNAUTHORIZED, problem_shape, refusal_shape
from wire.refusal import Refusal

HEARTBEAT_SECONDS = 15.0
STANDING_SECONDS = 1.0
"""How often the stream asks whether its caller may still listen."""


class ServerSentEvents:
    """An ASGI response that ends with its client, or once `known` says no more who asks.

    Frames are made as fast as the client takes them, never faster.
    """

    def __init__(
        self,
        frames: Callable[[], AsyncGenerator[bytes, None]],
        known: Callable[[], bool],
        request_id: str,
        heartbeat: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._frames = frames
        self._known = known
        self._request_id = request_id
        self._heartbeat = heartbeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with asyncio.TaskGroup() as tasks:
            beats = tasks.create_task(self._beats(send))
            lives = (self._speak(send), _disconnected(receive), self._unknown())
            endings = [tasks.create_task(life) for life in lives]
            await asyncio.wait(endings, return_when=asyncio.FIRST_COMPLETED)
            for task in (beats, *endings):
                task.cancel()
        if not self._known():
            refusal = problem_shape(401, UNAUTHORIZED, code="UNAUTHENTICATED", trace_id=self._request_id)
            await _write(send, frame("service.refused", refusal))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _speak(self, send: Send) -> None:
        """Ends with what nobody can read now, such as a database that is away; the client comes back."""
        try:
            async with aclosing(self._frames()) as frames:
                async for one in frames:
                    await _write(send, one)
        except Refusal as refusal:
            await _write(send, frame("service.refused", refusal_shape(refusal, self._request_id)))

    async def _unknown(self) -> None:
        while True:
            await asyncio.sleep(STANDING_SECONDS)
            if not self._known():
                return

    async def _beats(self, send: Send) -> None:
        """Comments, so that everybody between notices a dead connection."""
        while True:
            await asyncio.sleep(self._heartbeat)
            await _write(send, b": heartbeat\n\n")


def frame(kind: str, data: object, event_id: str = "") -> bytes:
    mark = b"id: %b\n" % event_id.encode() if event_id else b""
    return b"%bevent: %b\ndata: %b\n\n" % (mark, kind.encode(), msgspec.json.encode(data))


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _write(send: Send, one: bytes) -> None:
    await send({"type": "http.response.body", "body": one, "more_body": True})
