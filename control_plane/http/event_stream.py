"""The journal as it grows, resumable by id."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request

from control_plane.domain.errors import InvalidArgument
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
        prefixes = request.query_params.getlist("prefix")
        if len(prefixes) > PREFIXES:
            raise InvalidArgument(f"There are more than {PREFIXES} prefixes.", "Ask for shorter prefixes.")
        after = _id("after", once(request, "after"))
        last = _id("Last-Event-ID", request.headers.get("last-event-id"))
        replay = _number("replay", once(request, "replay") or "0")
        return cls(tuple(filter(None, prefixes)), after if last is None else last, min(replay, MAX_SIZE))

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
    async with aclosing(watch.chunks(wanted.prefixes, after_id=wanted.after_id, replay=wanted.replay)) as chunks:
        async for rows in chunks:
            yield b"".join(frame(row.kind, event_to_json(row), str(row.id)) for row in rows)


def once(request: Request, name: str) -> str | None:
    """A parameter of the query; InvalidArgument when it stands there several times."""
    said = request.query_params.getlist(name)
    if len(said) > 1:
        raise InvalidArgument(f"{name} stands in the query {len(said)} times.", "Say it once.")
    return said[0] if said else None


def _id(name: str, text: str | None) -> int | None:
    return None if text is None else _number(name, text)


def _number(name: str, text: str) -> int:
    if not text.isdecimal() or len(text) > 18:  # noqa: PLR2004 - fits the store's integers
        raise InvalidArgument(f"{name}={text[:40]!r} is no event number.", "Give a whole number, 0 or more.")
    return int(text)
