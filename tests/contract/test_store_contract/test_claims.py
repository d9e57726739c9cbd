"""Claims over every store: their rows, and what is done with them at the same moment."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from control_plane.domain.claims.claim import Claim, ClaimState, Held, Lease, Notice, Window
from control_plane.domain.claims.hold import Booking, Hold, Holds, Leaving
from control_plane.domain.claims.holds import live
from control_plane.domain.ids import ClaimId, NodeId, ProjectId, RuntimeId
from control_plane.domain.problem import Problem
from control_plane.use_cases.ports import Transaction
from tests.fakes.claims import MINE, Site, a_server, an_order
from tests.fakes.control_plane import World
from tests.fakes.store_rows import NOON, a_runtime
from tests.fakes.stores import AnyStore

C = ClaimId("c")
HOLD = Hold(C, 7, 5, exclusive=True, until=NOON, stop_after=timedelta(seconds=60))


def a_claim(name: str = "c") -> Claim:
    order = an_order("chat", "spare", window=Window(NOON, NOON + timedelta(hours=1)), wanted={"features": ("x",)})
    problem = Problem("NOT_READY", "It does not serve.", "Wait.", {"runtime": "runtimes/chat"})
    return Claim(
        ClaimId(name),
        ProjectId("p"),
        order,
        NOON,
        ClaimState.SUSPENDED,
        held=Held(RuntimeId("chat"), NodeId("n1"), HOLD, NOON),
        notice=Notice(NOON, problem),
        problem=problem,
        request_id="r",
    )


async def a_site(store: AnyStore) -> Site:
    world = World()
    world.store = store
    site = Site(world)
    await site.has(a_server("chat", "n1"), a_server("spare", "n2"))
    return site


async def test_a_claim_and_what_it_holds_come_back_as_they_were_put(store: AnyStore) -> None:
    booking = Booking(C, NOON, NOON + timedelta(hours=1), exclusive=True)
    holds = Holds((HOLD,), (Leaving(replace(HOLD, fence=6), 5, NOON),), (booking,), 7)
    runtime, lease = replace(a_runtime("chat"), holds=holds), Lease(C, NOON, 3)

    def fill(tx: Transaction) -> None:
        tx.claims.put(a_claim())
        tx.claim_leases.put(lease)
        tx.runtimes.put(runtime)

    await store.write(fill)
    assert await store.read(lambda tx: tx.claims.get(C)) == a_claim()
    assert await store.read(lambda tx: tx.claim_leases.all()) == [lease]
    assert await store.read(lambda tx: tx.runtimes.get(RuntimeId("chat"))) == runtime


async def test_a_claim_is_in_the_change_log_and_its_lease_is_not(store: AnyStore) -> None:
    await store.write(lambda tx: tx.claims.put(a_claim()))
    revision = await store.read(lambda tx: tx.revision())
    await store.write(lambda tx: tx.claim_leases.put(Lease(C, NOON)))
    await store.write(lambda tx: tx.claim_leases.delete(C))
    assert await store.read(lambda tx: tx.revision()) == revision
    logged = await store.read(lambda tx: [(change.kind, change.name) for change in tx.changes(0)])
    assert logged == [("claims", "c")]


async def test_of_many_who_want_one_alone_at_the_same_moment_one_has_it(store: AnyStore) -> None:
    site = await a_site(store)
    asked = (site.acquire(ProjectId(f"p{number}"), an_order(exclusive=True)) for number in range(8))
    states = [claim.state for claim in await asyncio.gather(*asked)]
    assert sorted(states) == [ClaimState.QUEUED] * 7 + [ClaimState.RESERVED]
    assert len(live(await site.world.runtime("chat"))) == 1


async def test_the_same_request_at_the_same_moment_makes_one_claim(store: AnyStore) -> None:
    site = await a_site(store)
    request = "00000000-0000-4000-8000-000000000001"
    claims = await asyncio.gather(*(site.acquire(MINE, an_order(), request) for _ in range(4)))
    assert len({claim.id for claim in claims}) == 1
    assert len(await site.claims()) == 1
    assert len((await site.world.runtime("chat")).holds.live) == 1


async def test_a_claim_goes_its_way_from_the_first_word_to_the_last(store: AnyStore) -> None:
    site = await a_site(store)
    claim = await site.granted(an_order(exclusive=True))
    waiting = await site.acquire(ProjectId("theirs"), an_order(exclusive=True))
    await asyncio.gather(*(site.renewed(claim.id) for _ in range(3)))
    await site.release(claim.id)
    await site.synced("n1")
    await site.settled()
    after = await site.let_in(waiting)
    assert (claim.state, after.state) == (ClaimState.GRANTED, ClaimState.GRANTED)
    assert claim.held is not None
    assert after.held is not None
    assert after.held.hold.fence > claim.held.hold.fence
    assert await store.read(lambda tx: [lease.id for lease in tx.claim_leases.all()]) == [after.id]
    assert [event.kind for event in await site.world.events("runtime.claim.")] == [
        "runtime.claim.request",
        "runtime.claim.reserved",
        "runtime.claim.acquired",
        "runtime.claim.request",
        "runtime.claim.queued",
        "runtime.claim.released",
        "runtime.claim.reserved",
        "runtime.claim.acquired",
    ]


async def test_what_ends_between_a_look_and_a_write_stays_ended(store: AnyStore) -> None:
    site = await a_site(store)
    claim = await site.acquire(MINE, an_order())
    await site.synced("n1")
    await asyncio.gather(site.settle(), site.release(claim.id), site.settle())
    await site.settled()
    assert (await site.claim(claim.id)).state is ClaimState.RELEASED
    assert live(await site.world.runtime("chat")) == {"system": 1}
