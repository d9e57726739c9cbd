"""One read model as it changes, as JSON Patch, resumable by entity tag."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field

import msgspec

from control_plane.http import shapes
from control_plane.http.server_sent import frame
from control_plane.http.versions import Version

KEPT = 8
"""Versions that somebody may come back with."""
PAUSE_SECONDS = 0.25
RESTS = 9
"""Times as long as a taking lasted, so that a large fleet's followers cost a tenth of a core."""
TICK_SECONDS = 5.0
"""What no bell rings for, such as figures that leave their window."""


@dataclass(slots=True)
class Updates:
    """One read model, taken once for all who follow it, and only while somebody does.

    Nothing is queued: who reads slowly gets one patch from what it has to what is.
    """

    id: str
    take: Callable[[], Awaitable[Version]]
    on_ring: Callable[[Callable[[], None]], Callable[[], None]]
    pause: float = PAUSE_SECONDS
    tick: float = TICK_SECONDS
    _kept: deque[Version] = field(default_factory=lambda: deque(maxlen=KEPT))
    _patches: dict[str, bytes] = field(default_factory=dict)
    """Frames to the newest version, by the tag of what is patched."""
    _began: float = float("-inf")
    """When the newest version began to be taken, by the loop's clock."""
    _rested: float = float("-inf")
    """When the next may."""
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def frames(self, request_id: str, etag: str = "") -> AsyncGenerator[bytes, None]:
        """A greeting, the whole document unless what `etag` names is still known here, then patches."""
        seen = next((version for version in self._kept if version.etag == etag), None)
        greeting = shapes.Following(request_id=request_id, resume_from=etag if seen else None)
        yield frame("service.connected", greeting)
        bell = asyncio.Event()
        stop = self.on_ring(bell.set)
        try:
            while True:
                bell.clear()
                seen, said = await self._news(seen)
                if said:
                    yield said
                await _rung(bell, self.tick)
        finally:
            stop()

    async def _news(self, seen: Version | None) -> tuple[Version, bytes]:
        """The newest version, and how to come to it; StorageUnavailable."""
        asked = asyncio.get_running_loop().time()
        async with self._one_at_a_time:
            if self._began < asked:
                await self._look()
            newest = self._kept[-1]
            if seen is None:
                return newest, self._whole(newest)
            return newest, b"" if seen is newest else await self._patch(seen, newest)

    async def _look(self) -> None:
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(max(0.0, self._rested - clock()))
        began = clock()
        version = await self.take()
        self._began, ended = began, clock()
        self._rested = max(began + self.pause, ended + RESTS * (ended - began))
        if not self._kept or version.replaces(self._kept[-1].etag):
            self._kept.append(version)
            self._patches.clear()

    def _whole(self, version: Version) -> bytes:
        document = msgspec.Raw(version.body)
        return frame("state.read.model.snapshot", {"id": self.id, "document": document}, version.etag)

    async def _patch(self, before: Version, after: Version) -> bytes:
        if before.etag not in self._patches:
            operations = await asyncio.to_thread(_difference, before.body, after.body)
            shape = shapes.Patch(id=self.id, patch=operations)
            self._patches[before.etag] = frame("state.read.model.patch", shape, after.etag)
        return self._patches[before.etag]


def _difference(before: bytes, after: bytes) -> list[dict[str, object]]:
    import jsonpatch  # noqa: PLC0415 - a start need not wait for it

    return list(jsonpatch.make_patch(msgspec.json.decode(before), msgspec.json.decode(after)).patch)


async def _rung(bell: asyncio.Event, within: float) -> None:
    try:
        async with asyncio.timeout(within):
            await bell.wait()
    except TimeoutError:
        return
