"""A TCP proxy that treats connections as bad networks do, on command."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
Address = tuple[str, int]
"""Where to listen."""
Target = Address | Path
"""Where to dial; a path: a Unix socket."""
CHUNK = 16 * 1024
NO_LINGER = struct.pack("ii", 1, 0)


class Way(Enum):
    UP = auto()
    """From who dialled to the server."""
    DOWN = auto()

    @property
    def back(self) -> Way:
        return Way.DOWN if self is Way.UP else Way.UP


@dataclass(slots=True)
class _Road:
    """One direction of every connection."""

    open: asyncio.Event = field(default_factory=asyncio.Event)
    delay_s: float = 0.0
    resets_in: int | None = None
    """Bytes until the connection that carries them is reset."""
    passed: int = 0


@dataclass(slots=True, eq=False)
class _Link:
    dialler: asyncio.StreamWriter
    server: asyncio.StreamWriter
    mute: set[Way] = field(default_factory=set)
    """Half-closed: what still comes this way is thrown away."""

    def towards(self, way: Way) -> asyncio.StreamWriter:
        return self.server if way is Way.UP else self.dialler

    def end(self, way: Way) -> None:
        target = self.towards(way)
        if way not in self.mute and not target.is_closing():
            target.write_eof()

    def reset(self) -> None:
        for writer in (self.dialler, self.server):
            _reset(writer)

    def close(self) -> None:
        for writer in (self.dialler, self.server):
            writer.close()


class UnrulyProxy:
    """Runs on a thread of its own, so that a test may block.

    Silence keeps bytes back, as lost packets do: TCP sends them again, so they arrive after healing, unless an end
    gave up meanwhile. An end that closes or resets is not heard of through a silent way either.
    """

    def __init__(self, routes: Sequence[tuple[Address, Target]]) -> None:
        """Pairs of (where to listen, where to dial)."""
        self._routes = routes
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="unruly proxy")
        self._roads: dict[Way, _Road] = {}
        self._links: set[_Link] = set()
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @contextmanager
    def running(self) -> Iterator[UnrulyProxy]:
        self._thread.start()
        try:
            self._wait(self._begin())
            yield self
        finally:
            self._wait(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def silence(self, *ways: Way) -> None:
        """Let nothing through any more; both ways unless told."""
        self._on_each(ways, lambda road: road.open.clear())

    def heal(self) -> None:
        """Let everything through, at once, and listen."""
        self._on_each((), _mend)
        self._wait(self._listen())

    def delay(self, seconds: float, *ways: Way) -> None:
        def slow(road: _Road) -> None:
            road.delay_s = seconds

        self._on_each(ways, slow)

    def reset_after(self, count: int, way: Way) -> None:
        """Reset the connection that carries the `count`-th byte from now, and refuse others until healed."""

        def arm(road: _Road) -> None:
            road.resets_in = count

        self._on_each((way,), arm)

    def half_close(self, way: Way) -> None:
        """Tell every receiver on this way that nothing more comes; the other way goes on."""
        self._wait(self._half_close(way))

    def reset(self) -> None:
        """Reset every connection."""
        self._wait(self._reset())

    def refuse(self) -> None:
        """Listen no longer; what is connected stays so."""
        self._wait(self._refuse())

    def passed(self, way: Way) -> int:
        """Bytes let through so far."""
        return self._roads[way].passed

    @property
    def connections(self) -> int:
        return len(self._links)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _on_each(self, ways: Sequence[Way], act: Callable[[_Road], None]) -> None:
        async def on_loop() -> None:
            for way in ways or Way:
                act(self._roads[way])

        self._wait(on_loop())

    async def _begin(self) -> None:
        self._roads = {way: _Road() for way in Way}
        for road in self._roads.values():
            road.open.set()
        await self._listen()

    async def _listen(self) -> None:
        if not self._servers:
            self._servers = [
                await asyncio.start_server(self._carrying(target), *at, reuse_address=True)
                for at, target in self._routes
            ]

    async def _end(self) -> None:
        self._stop_listening()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _refuse(self) -> None:
        self._stop_listening()

    def _stop_listening(self) -> None:
        for server in self._servers:
            server.close()
        self._servers = []

    async def _reset(self) -> None:
        for link in tuple(self._links):
            link.reset()

    async def _half_close(self, way: Way) -> None:
        for link in tuple(self._links):
            link.end(way)
            link.mute.add(way)

    def _carrying(self, target: Target) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                await self._carry(reader, writer, target)
            except asyncio.CancelledError:
                return  # asyncio's own callback would call a cancelled connection an error
            finally:
                self._tasks.discard(task)
                _reset(writer)

        return carry

    async def _carry(self, dialler: asyncio.StreamReader, back: asyncio.StreamWriter, target: Target) -> None:
        await self._roads[Way.UP].open.wait()
        try:
            server, on = await _dialled(target)
        except OSError:
            return
        link = _Link(back, on)
        self._links.add(link)
        try:
            await asyncio.gather(self._pump(link, Way.UP, dialler), self._pump(link, Way.DOWN, server))
            link.close()
        finally:
            self._links.discard(link)
            _reset(on)

    async def _pump(self, link: _Link, way: Way, source: asyncio.StreamReader) -> None:
        """Until the source ends; what one end learns of the other goes the way that bytes go."""
        try:
            while data := await source.read(CHUNK):
                await self._travel(way)
                if not await self._deliver(link, way, data):
                    return
            await self._roads[way].open.wait()
            link.end(way)
        except OSError:
            await self._roads[way].open.wait()
            link.reset()

    async def _travel(self, way: Way) -> None:
        road = self._roads[way]
        if road.delay_s:
            await asyncio.sleep(road.delay_s)
        await road.open.wait()

    async def _deliver(self, link: _Link, way: Way, data: bytes) -> bool:
        """False: the connection is over."""
        road, target = self._roads[way], link.towards(way)
        if way in link.mute:
            return True
        try:
            target.write(data)
            await target.drain()
        except OSError:
            await self._roads[way.back].open.wait()
            link.reset()
            return False
        road.passed += len(data)
        return not self._reset_is_due(road, link, len(data))

    def _reset_is_due(self, road: _Road, link: _Link, count: int) -> bool:
        if road.resets_in is None:
            return False
        road.resets_in -= count
        if road.resets_in > 0:
            return False
        road.resets_in = None
        self._stop_listening()
        link.reset()
        return True


async def _dialled(target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(target, Path):
        return await asyncio.open_unix_connection(target)
    return await asyncio.open_connection(*target)


def _mend(road: _Road) -> None:
    road.delay_s, road.resets_in = 0.0, None
    road.open.set()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close what is open without a farewell: the peer sees a reset."""
    if not writer.is_closing():
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        writer.transport.abort()
