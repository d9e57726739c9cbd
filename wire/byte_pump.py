"""Byte pumps with back-pressure, and the deadlines that bound them.

A response flows from a Source to a Sink: while the sink's socket is full, the source is not read.
Each read is one write, so what one turn of the loop brought travels as one piece (one TLS record).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import cast

HIGH_WATER_BYTES = 256 * 1024
"""Buffered for a slow reader before its source is held."""


_NO_LINGERING = struct.pack("ii", 1, 0)


class Watchdog:
    """A deadline that is cheap to push back: the timer is only looked at when it fires."""

    __slots__ = ("_deadline", "_expired", "_loop", "_timer")

    def __init__(self, expired: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._expired = expired
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def within(self, seconds: float) -> None:
        """Call `expired` after `seconds` unless told otherwise until then."""
        self._deadline = deadline = self._loop.time() + seconds
        if self._timer is not None and self._timer.when() > deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._fire)

    def rest(self) -> None:
        """No deadline for now."""
        self._deadline = None

    def stop(self) -> None:
        self._deadline = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._deadline > self._loop.time():
            self._timer = self._loop.call_at(self._deadline, self._fire)
            return
        self._deadline = None
        self._expired()


class End(asyncio.Protocol):
    """A socket of the data path."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not every loop's stream transports derive from asyncio's own.
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)

    @property
    def open(self) -> bool:
        return not self.transport.is_closing()

    def close(self) -> None:
        """Send what is written, then end."""
        self.transport.close()

    def abort(self) -> None:
        self.transport.abort()

    def reset(self) -> None:
        """End so that the peer sees it cut: nothing else tells half an answer without framing from a whole one."""
        peer = self.transport.get_extra_info("socket")
        if peer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
        self.abort()


class Source(End):
    """Where a response comes from."""

    _held = False

    @property
    def held(self) -> bool:
        """It is not read, because whoever it flows to has enough."""
        return self._held

    def hold(self) -> None:
        if not self._held and self.open:
            self._held = True
            self.transport.pause_reading()

    def release(self) -> None:
        if self._held:
            self._held = False
            if self.open:
                self.transport.resume_reading()


class Sink(End):
    """Where a response goes."""

    _source: Source | None = None
    _full = False

    def draw_from(self, source: Source) -> None:
        self._source = source
        if self._full:
            source.hold()

    def let_go(self) -> Source | None:
        """Part from the source, which may then serve another."""
        source, self._source = self._source, None
        if source is not None:
            source.release()
        return source

    def pause_writing(self) -> None:
        self._full = True
        if self._source is not None:
            self._source.hold()

    def resume_writing(self) -> None:
        self._full = False
        if self._source is not None:
            self._source.release()


def give_up_unread(transport: asyncio.BaseTransport, seconds: float) -> None:
    """Let the kernel reset a TCP peer that takes nothing for so long: it would keep what waits for ever."""
    peer = transport.get_extra_info("socket")
    if peer is not None and peer.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds * 1000))


def keep_probing(transport: asyncio.BaseTransport) -> None:
    """Let the kernel find out within half a minute that an idle TCP peer is gone."""
    peer = transport.get_extra_info("socket")
    if peer is None or peer.family == socket.AF_UNIX:
        return
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
