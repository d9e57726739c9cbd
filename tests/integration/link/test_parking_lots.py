"""Which replica's connections grow when one of them asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from node_agent.control_link.messages import Replica
from node_agent.relay.link import RelayLink
from tests.fakes.data_path import FakeDoors
from tests.fakes.patience import SLACK
from tests.fakes.relay_rig import until


@dataclass(slots=True)
class Door:
    """A relay that lets everybody in, or nobody."""

    open: bool = True
    came: int = 0
    parked: int = 0

    async def enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came += 1
        await reader.readline()
        if self.open:
            self.parked += 1
            await reader.read()
            self.parked -= 1
        writer.close()


@dataclass(slots=True)
class Site:
    link: RelayLink
    doors: list[Door]
    replicas: list[Replica]


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[Site]:
    """Two replicas on this machine, and a node."""
    doors = [Door(), Door()]
    replicas = [Replica(f"r{number}:1", f"r{number}:2", str(folder / f"{number}.sock")) for number in range(2)]
    link = RelayLink(FakeDoors(), "box", lambda: None)  # type: ignore[arg-type,return-value]
    servers = [
        await asyncio.start_unix_server(door.enter, replica.relay_unix_path)
        for door, replica in zip(doors, replicas, strict=True)
    ]
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(link.run())
        yield Site(link, doors, replicas)
        running.cancel()
        for server in servers:
            server.close()


async def test_the_replica_that_says_so_or_is_named_gets_more_and_no_other(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        one, other = here.doors
        here.link.configure(1, here.replicas, 2)
        await until(lambda: one.parked == other.parked == 2)
        here.link.park(4)
        await until(lambda: one.parked == 4)
        assert other.parked == 2
        here.link.park(5, "r1:2")
        await until(lambda: other.parked == 5)
        assert one.parked == 4
        here.link.park(9, "unheard.of:2")


async def test_replicas_that_come_and_go_leave_the_connections_of_the_others(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        one, other = here.doors
        here.link.configure(1, here.replicas[:1], 2)
        await until(lambda: one.parked == 2)
        here.link.configure(1, here.replicas, 2)
        await until(lambda: other.parked == 2)
        here.link.configure(1, here.replicas[1:], 2)
        await until(lambda: one.parked == 0)
        assert (one.came, other.came, other.parked) == (2, 2, 2)


async def test_a_new_session_leaves_no_moment_without_connections(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        one = here.doors[0]
        here.link.configure(1, here.replicas[:1], 2)
        await until(lambda: one.parked == 2)
        one.open = False
        here.link.configure(2, here.replicas[:1], 2)
        await until(lambda: one.came > 2)
        assert one.parked == 2
        one.open = True
        await until(lambda: one.parked > 2)
        await until(lambda: one.parked == 2)


async def test_a_replica_that_hears_of_the_session_a_moment_later_is_parked_at_within_a_second(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        one = here.doors[0]
        one.open = False
        here.link.configure(1, here.replicas[:1], 2)
        await until(lambda: one.came >= 2)
        one.open = True
        async with asyncio.timeout(1 * SLACK):
            await until(lambda: one.parked > 0)
