"""The journal as it grows, resumable by id."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, cast

from starlette.requests import Request

from control_plane.domain.errors import InvalidArgument
from control_plane.domain.event import Event
from control_plane.http import shapes
from control_plane.http.convert import event_to_json
from control_plane.http.server_sent import frame
from control_plane.use_cases.paging import MAX_SIZE
from control_plane.use_cases.watch_events import WatchEvents

PREFIXES = 32


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
        if len(prefixes) > PREFIXES:
            raise InvalidArgument(f"There are more than {PREFIXES} prefixes.", "Ask for shorter prefixes.")
        after = request.headers.get("last-event-id") or request.query_params.get("after")
        replay = _number("replay", request.query_params.get("replay") or "0")
        return cls(prefixes, None if after is None else _number("after", after), min(replay, MAX_SIZE))

    @property
    def mode(self) -> Literal["after", "newest", "none"]:
        if self.after_id is not None:
            return "after"
        return "newest" if self.replay else "none"

    def greeting(self, request_id: str) -> shapes.Connected:
        return shapes.Connected(
            request_id=request_id,
            resume_from=self.after_id,
            replay=shapes.Replay(mode=self.mode, count=self.replay),
            prefixes=list(self.prefixes),
        )


async def event_frames(watch: WatchEvents, wanted: Subscription, request_id: str) -> AsyncGenerator[bytes, None]:
    """A greeting, then rows as fast as they are taken."""
    yield frame("service.connected", wanted.greeting(request_id))
    rows = watch(wanted.prefixes, after_id=wanted.after_id, replay=wanted.replay)
    async with aclosing(cast(AsyncGenerator[Event, None], rows)):
        async for row in rows:
            yield frame(row.kind, event_to_json(row), str(row.id))


def _number(name: str, text: str) -> int:
    if not text.isdecimal() or len(text) > 18:  # noqa: PLR2004 - fits the store's integers
        raise InvalidArgument(f"{name}={text[:40]!r} is no event number.", "Give a whole number, 0 or more.")
    return int(text)
