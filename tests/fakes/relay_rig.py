"""A gateway, one node's relay link and its engine, in one process over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.ports import Route
from gateway.server import Bound, Gateway, Listen, Listeners, Ports
from gateway.settings import GatewaySettings
from node_agent.relay.link import RelayLink
from tests.fakes.data_path import (
    Certificates,
    FakeCallers,
    FakeDemand,
    FakeDoors,
    FakeGate,
    FakeMeter,
    FakeRoutes,
    Replica,
    door,
)
from tests.fakes.patience import SLACK
from tests.fakes.stub_engine import StubEngine

NODE, EPOCH, MODEL = "box", 3, "tiny"
INSTANCE = f"nodes/{NODE}/instances/{MODEL}"


@dataclass(slots=True)
class Rig:
    """A gateway, one node's relay link, and its engine, in one process over real sockets."""

    gateway: Gateway
    bound: Bound
    link: RelayLink
    engine: StubEngine
    routes: FakeRoutes
    meter: FakeMeter
    gate: FakeGate
    demand: FakeDemand
    doors: FakeDoors
    certificates: Certificates
    relay_socket: Path
    unix: bool

    @property
    def port(self) -> int:
        return self.bound.http

    def route(self, fence: int = 1) -> Route:
        return Route(INSTANCE, NODE, "system", fence, MODEL)

    def configure(self, epoch: int = EPOCH, parked: int = 4) -> None:
        address = "" if self.unix else f"127.0.0.1:{self.bound.relay}"
        self.link.configure(epoch, [Replica(address, str(self.relay_socket) if self.unix else "")], parked)

    async def parked(self, count: int = 1) -> None:
        await until(lambda: self.gateway.parked(NODE) >= count)


async def until(true: Callable[[], bool]) -> None:
    """Let the loop run until something holds; the test's time-out is the limit."""
    async with asyncio.timeout(10 * SLACK):
        while not true():  # noqa: ASYNC110 - what is waited for happens in sockets and says nothing
            await asyncio.sleep(0.002)


@asynccontextmanager
async def rigged(
    folder: Path, *, unix: bool, settings: GatewaySettings | None = None, application_socket: Path | None = None
) -> AsyncIterator[Rig]:
    certificates = Certificates(folder)
    tls, serial = certificates.node(NODE)
    routes, meter, demand, doors = FakeRoutes(), FakeMeter(), FakeDemand(), FakeDoors()
    gate = FakeGate({NODE: (EPOCH, serial)})
    relay_socket = folder / "relay.sock"
    listeners = Listeners(Listen(), Listen(tls=certificates.server()), relay_socket, application_socket)
    rules = settings or GatewaySettings(queue_timeout=5 * SLACK)
    gateway = Gateway(Ports(routes, FakeCallers(), meter, gate, demand), listeners, rules, grace=2)
    link = RelayLink(doors, NODE, tls)
    demand.links[NODE] = link
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(StubEngine().listening())
        bound = await stack.enter_async_context(gateway.serving())
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(link.run())
            rig = Rig(
                gateway, bound, link, engine, routes, meter, gate, demand, doors, certificates, relay_socket, unix
            )
            routes.table[MODEL] = rig.route()
            doors.doors[INSTANCE] = door(engine.port)
            rig.configure()
            await rig.parked()
            yield rig
            running.cancel()
