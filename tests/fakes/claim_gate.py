"""A gateway's routes beside claims that a test takes, holds and loses."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from control_plane.data_path.assembly import ClaimParts
from control_plane.data_path.implicit_claims import ImplicitClaims, Means
from control_plane.data_path.known_waits import KnownWaits
from control_plane.data_path.routes import RouteTable
from control_plane.domain.claims.claim import Claim
from control_plane.use_cases.claims.facts import Sight
from control_plane.use_cases.claims.release_claim import ReleaseClaim
from gateway.ports import Route, Task
from gateway.refusals import GatewayRefusal
from tests.fakes.claims import MINE, Site, a_server, a_site


@dataclass(slots=True)
class Gate:
    site: Site
    table: RouteTable = field(init=False)
    implicit: ImplicitClaims = field(init=False)
    waits: KnownWaits = field(init=False)

    def __post_init__(self) -> None:
        site, world = self.site, self.site.world
        release = ReleaseClaim(world.store, world.clock)
        means = Means(site.acquire, site.renew, release, Sight(world.mirror, world.fleet), site.book)
        self.waits = KnownWaits(site.waits, site.book)
        claims = ClaimParts(means, self.waits, world.clock, world.randomness)
        self.implicit = claims.implicit()
        self.table = RouteTable(world.mirror, world.fleet, {}, claims.asked(self.implicit))

    def ask(self, claim: Claim, model: str = "chat", project: str = MINE, task: Task = Task.TEXT) -> Route:
        return self.table.resolve(model, task, project, claim=claim.id)

    def refusal(self, claim: Claim, model: str = "chat", project: str = MINE, task: Task = Task.TEXT) -> GatewayRefusal:
        with pytest.raises(GatewayRefusal) as raised:
            self.ask(claim, model, project, task)
        return raised.value

    def by_key(self, project: str = MINE, model: str = "chat") -> Route:
        """Without a claim of its own."""
        return self.table.resolve(model, project=project)

    async def tended(self) -> None:
        """What the gateway asks for is asked for, and nodes and settling have their say."""
        await self.implicit.acquire()
        tending = asyncio.ensure_future(self.implicit.tend())
        while not tending.done():
            await asyncio.sleep(0)
            await self.site.renew.flush()
        await tending
        await self.site.synced("n1")
        await self.site.settled()


async def a_gate(*slots: int) -> Gate:
    """A runtime of one model for each: "chat" on node "n1", "chat-2" on "n2" and so on."""
    places = enumerate(slots, 1)
    servers = [a_server("chat" if place == 1 else f"chat-{place}", f"n{place}", many) for place, many in places]
    site = await a_site(*servers)
    await site.world.mirror.look()
    return Gate(site)
