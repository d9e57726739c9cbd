"""Server-sent events: the journal as it grows, resumable by id."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from control_plane.domain.errors import InvalidArgument
from control_plane.domain.event import Event
from control_plane.http.problems import UNAUTHORIZED, problem_shape, trace_id
from control_plane.http.shapes import event as event_shape
from control_plane.use_cases.paging import MAX_SIZE
from control_plane.use_cases.watch_events import WatchEvents

HEARTBEAT_SECONDS = 15.0
STANDING_SECONDS = 1.0
"""How often the stream asks whether its caller may still listen."""
_PREFIXES = 32


@dataclass(frozen=True, slots=True)
class Subscription:
    prefixes: tuple[str, ...]
    after_id: int | None
    """None: only new events, and `replay` old ones."""
    replay: int

    @classmethod
    def of(cls, request: Request) -> Subscription:
        """InvalidArgument. A reconnecting browser's Last-Event-ID wins over `after`."""
        prefixes = tuple(prefix for prefix in request.query_params.getlist("prefix") if prefix)
        if len(prefixes) > _PREFIXES:
            raise InvalidArgument(f"There are more than {_PREFIXES} prefixes.", "Ask for shorter prefixes.")
        after = request.headers.get("last-event-id") or request.query_params.get("after")
        replay = _number("replay", request.query_params.get("replay") or "0")
        return cls(prefixes, None if after is None else _number("after", after), min(replay, MAX_SIZE))

    @property
    def mode(self) -> str:
        if self.after_id is not None:
            return "after"
        return "newest" if self.replay else "none"


class EventStream:
    """An ASGI response that ends with its client, or once `known` says no more who asks.

    Rows are read as fast as the client takes them, never faster.
    """

    def __init__(
        self,
        watch: WatchEvents,
        request: Request,
        known: Callable[[], bool],
        heartbeat: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._watch = watch
        self._known = known
        self._subscription = Subscription.of(request)
        self._request_id = trace_id(request)
        self._heartbeat = heartbeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await _write(send, _frame("service.connected", self._greeting()))
        async with asyncio.TaskGroup() as tasks:
            speaking = [tasks.create_task(self._events(send)), tasks.create_task(self._beats(send))]
            endings = [tasks.create_task(_disconnected(receive)), tasks.create_task(self._unknown())]
            await asyncio.wait(endings, return_when=asyncio.FIRST_COMPLETED)
            for task in (*speaking, *endings):
                task.cancel()
        if not self._known():
            refusal = problem_shape(401, UNAUTHORIZED, code="UNAUTHENTICATED", trace_id=self._request_id)
            await _write(send, _frame("service.refused", refusal))
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _greeting(self) -> dict[str, Any]:
        wanted = self._subscription
        return {
            "request_id": self._request_id,
            "resume_from": wanted.after_id,
            "replay": {"mode": wanted.mode, "count": wanted.replay},
            "prefixes": list(wanted.prefixes),
        }

    async def _events(self, send: Send) -> None:
        wanted = self._subscription
        rows = self._watch(wanted.prefixes, after_id=wanted.after_id, replay=wanted.replay)
        async with aclosing(cast(AsyncGenerator[Event, None], rows)):
            async for row in rows:
                await _write(send, _frame(row.kind, event_shape(row), row.id))

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


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _write(send: Send, frame: bytes) -> None:
    await send({"type": "http.response.body", "body": frame, "more_body": True})


def _frame(kind: str, data: dict[str, Any], event_id: int | None = None) -> bytes:
    mark = b"id: %d\n" % event_id if event_id is not None else b""
    return b"%bevent: %b\ndata: %b\n\n" % (mark, kind.encode(), msgspec.json.encode(data))


def _number(name: str, text: str) -> int:
    if not text.isdecimal() or len(text) > 18:  # noqa: PLR2004 - fits the store's integers
        raise InvalidArgument(f"{name}={text[:40]!r} is no event number.", "Give a whole number, 0 or more.")
    return int(text)
