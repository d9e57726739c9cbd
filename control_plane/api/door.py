"""The enrolment port as strangers meet it: few connections of one address, each for so long and for so many bytes.

grpc cannot bound them itself. It knows no limit for an address, and to a peer that never acknowledges its settings it
grants a header block of 16 MiB, which 3 MiB on the wire fill and which costs about 100 MiB of memory.
So it listens on a socket that only this user may open, and what comes from outside is carried there, still encrypted.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import structlog

from control_plane.api.rate_limit import SeatRules, Seats, address_of
from control_plane.domain.errors import RateLimited

_PIECE = 4 * 1024
_BACKLOG = 1024

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DoorRules:
    seats: SeatRules = field(default_factory=SeatRules)
    stay: timedelta = timedelta(seconds=30)
    """Longer than grpc lets a connection live, which ends it with a word of farewell."""
    inbound_bytes: int = 32 * 1024
    """What one connection may say: an enrolment with its handshake takes some 4 KiB."""


class Door:
    """`inner` is where grpc listens; beside it, each visitor has a name for as long as it stays."""

    def __init__(self, inner: Path, rules: DoorRules | None = None) -> None:
        self.inner = inner
        self._rules = rules or DoorRules()
        self._seats = Seats(self._rules.seats)
        self._numbers = itertools.count()
        self._visitors: dict[str, str] = {}

    def address_of_peer(self, peer: str) -> str:
        """The address behind what grpc calls the peer of a call; the peer itself once it has left."""
        return self._visitors.get(peer.rpartition("/")[2], peer)

    @asynccontextmanager
    async def open(self, host: str, port: int) -> AsyncIterator[int]:
        """Let visitors in; gives the port. At the end all of them are turned out."""
        visits: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:

            def let_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                visit = group.create_task(self._visit(reader, writer))
                visits.add(visit)
                visit.add_done_callback(visits.discard)

            server = await asyncio.start_server(let_in, sock=_listening(host, port), limit=_PIECE, backlog=_BACKLOG)
            try:
                yield server.sockets[0].getsockname()[1]
            finally:
                server.close()
                for visit in visits:
                    visit.cancel()

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = _address(writer)
        try:
            async with self._seats.taken(address), asyncio.timeout(self._rules.stay.total_seconds()):
                with self._named(address) as name:
                    await self._show_in(name, reader, writer)
        except (OSError, RateLimited) as error:
            _log.info("visit_cut_short", address=address, why=str(error) or type(error).__name__)
        finally:
            writer.transport.abort()

    async def _show_in(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside = await _connected(self.inner, self.inner.with_name(name))
        inner_reader, inner_writer = await asyncio.open_unix_connection(sock=inside, limit=_PIECE)
        over = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                ways = (
                    group.create_task(_carry(reader, inner_writer, over, self._rules.inbound_bytes)),
                    group.create_task(_carry(inner_reader, writer, over)),
                )
                await over.wait()
                for way in ways:
                    way.cancel()
            writer.close()
            await writer.wait_closed()
        finally:
            inner_writer.transport.abort()

    @contextmanager
    def _named(self, address: str) -> Iterator[str]:
        name = f"visitor-{next(self._numbers)}"
        self._visitors[name] = address
        _log.info("visitor", address=address, name=name)
        try:
            yield name
        finally:
            del self._visitors[name]


def _listening(host: str, port: int) -> socket.socket:
    """As grpc listens: the IPv6 wildcard takes IPv4 too."""
    if ":" not in host:
        return socket.create_server((host, port))
    both = host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server((host, port), family=socket.AF_INET6, dualstack_ipv6=both)


def _address(writer: asyncio.StreamWriter) -> str:
    """Of one that left before it was looked at, nothing."""
    peer = writer.get_extra_info("peername")
    return address_of(peer[0]) if peer else ""


async def _connected(inner: Path, own: Path) -> socket.socket:
    """A connection to `inner` whose peer is called `own`."""
    with _bound(own) as inside:
        await asyncio.get_running_loop().sock_connect(inside, str(inner))
        return inside


@contextmanager
def _bound(path: Path) -> Iterator[socket.socket]:
    """The name is only needed to connect; one that a crash left behind is in nobody's use."""
    path.unlink(missing_ok=True)
    inside = socket.socket(socket.AF_UNIX)
    try:
        inside.setblocking(False)
        inside.bind(str(path))
        yield inside
    except BaseException:
        inside.close()
        raise
    finally:
        path.unlink(missing_ok=True)


async def _carry(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, over: asyncio.Event, most: float = math.inf
) -> None:
    """Until either side leaves, or more than `most` bytes came."""
    try:
        # A closed transport is asked first: not every loop takes a write to it quietly.
        while most >= 0 and (data := await source.read(_PIECE)) and not sink.is_closing():
            most -= len(data)
            sink.write(data)
            await sink.drain()
    except OSError:
        return
    finally:
        over.set()
