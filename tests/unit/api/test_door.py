from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from control_plane.api.door import Door, DoorRules
from control_plane.api.rate_limit import SeatRules
from tests.fakes.relay_rig import until

PATIENCE = 5


@dataclass
class Inside:
    """An echo where grpc would listen."""

    door: Door
    port: int = 0
    peers: list[str] = field(default_factory=list)

    async def echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.peers.append(f"unix:{writer.get_extra_info('peername')}")
        try:
            while data := await reader.read(65536):
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def visit(self, address: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="arw"))
    yield path
    shutil.rmtree(path)


@asynccontextmanager
async def inside(folder: Path, **rules: object) -> AsyncIterator[Inside]:
    door = Door(folder / "inner.sock", DoorRules(**rules))  # type: ignore[arg-type]
    room = Inside(door)
    async with asyncio.timeout(PATIENCE), await asyncio.start_unix_server(room.echo, str(door.inner)):
        async with door.open("127.0.0.1", 0) as room.port:
            yield room
        assert not door._visitors


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_bytes_go_both_ways_until_either_side_leaves(folder: Path) -> None:
    async with inside(folder) as room:
        reader, writer = await room.visit()
        for word in (b"hello", b"x" * 20_000):
            writer.write(word)
            assert await reader.readexactly(len(word)) == word
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()


async def test_a_peer_inside_is_known_by_the_address_outside_and_only_while_it_stays(folder: Path) -> None:
    async with inside(folder) as room:
        for address in ("127.0.0.1", "127.0.0.2"):
            reader, writer = await room.visit(address)
            writer.write(b"x")
            await reader.readexactly(1)
            assert room.door.address_of_peer(room.peers[-1]) == address
            writer.close()
        await until(lambda: not room.door._visitors)
        assert room.door.address_of_peer(room.peers[-1]) == room.peers[-1]
        assert names(folder) == ["inner.sock"]


async def test_who_says_too_much_is_turned_out(folder: Path) -> None:
    async with inside(folder, inbound_bytes=10_000) as room:
        reader, writer = await room.visit()
        writer.write(b"x" * 100_000)
        echoed = b""
        with suppress(ConnectionResetError):
            while data := await reader.read(4096):
                echoed += data
        assert len(echoed) <= 10_000 + 4096
        writer.close()


async def test_who_stays_too_long_is_turned_out_however_busy(folder: Path) -> None:
    async with inside(folder, stay=timedelta(seconds=0.2)) as room:
        reader, writer = await room.visit()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            while True:
                writer.write(b"x")
                await reader.readexactly(1)
        writer.close()


async def test_who_finds_no_seat_waits_for_one(folder: Path) -> None:
    async with inside(folder, seats=SeatRules(seats_of_one=1)) as room:
        _, first = await room.visit()
        await until(lambda: bool(room.peers))
        reader, second = await room.visit()
        second.write(b"x")
        other, third = await room.visit("127.0.0.2")
        third.write(b"y")
        assert await other.readexactly(1) == b"y"
        assert len(room.peers) == 2
        first.close()
        assert await reader.readexactly(1) == b"x"
        second.close()
        third.close()


async def test_a_closed_inside_closes_the_visit(folder: Path) -> None:
    door = Door(folder / "nobody.sock")
    async with asyncio.timeout(PATIENCE), door.open("127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
    assert names(folder) == []


async def test_all_visitors_are_turned_out_at_the_end(folder: Path) -> None:
    async with inside(folder) as room:
        reader, writer = await room.visit()
        writer.write(b"x")
        await reader.readexactly(1)
    assert await reader.read() == b""
    writer.close()
