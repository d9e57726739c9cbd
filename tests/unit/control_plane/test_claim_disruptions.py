"""Claims whose nodes, engines, time or rank let them down."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from control_plane.domain.claims.claim import ClaimState, Window
from control_plane.domain.claims.holds import live
from control_plane.domain.claims.line import Rules
from control_plane.domain.errors import StorageUnavailable
from control_plane.domain.ids import ProjectId, RuntimeId
from control_plane.domain.instance import InstanceState
from control_plane.domain.runtime import DesiredState
from control_plane.use_cases.claims.facts import Sight
from control_plane.use_cases.claims.owners import ClaimOwners
from control_plane.use_cases.claims.renew_claims import RenewClaims
from control_plane.use_cases.claims.settle_claims import SettleClaims
from control_plane.use_cases.project_book import ProjectBook
from tests.fakes.claims import MINE, TTL, Site, a_server, a_site, an_order
from tests.fakes.clock import NOON
from tests.fakes.faulty_store import Fault, FaultyStore

S = ClaimState


@pytest.fixture
async def site() -> Site:
    return await a_site(a_server("chat", "n1"), a_server("spare", "n2"))


async def test_a_claim_whose_node_goes_is_suspended_and_recovers_with_the_same_hold(site: Site) -> None:
    claim = await site.granted()
    site.world.fleet.disconnect("n1", site.world.clock.now())
    await site.settled()
    gone = await site.claim(claim.id)
    assert (gone.state, gone.held) == (S.SUSPENDED, claim.held)
    assert gone.problem is not None
    assert gone.problem.reason == "NODE_OFFLINE"
    await site.passes(20, renewing=(claim,))
    site.world.fleet.connect("n1")
    await site.synced("n1")
    await site.settled()
    back = await site.claim(claim.id)
    assert (back.state, back.held, back.problem) == (S.GRANTED, claim.held, None)
    assert "runtime.claim.recovered" in await site.world.topics()


@pytest.mark.parametrize("state", [InstanceState.ERROR, InstanceState.RESTARTING, InstanceState.STARTING])
async def test_what_stays_away_is_replaced_by_the_fallback_after_max_disruption(
    site: Site, state: InstanceState
) -> None:
    claim = await site.granted(an_order("chat", "spare"))
    site.reports("chat", "n1", state)
    await site.settled()
    await site.passes(29, renewing=(claim,))
    assert (await site.claim(claim.id)).state is S.SUSPENDED
    await site.passes(5, renewing=(claim,))
    moved = await site.let_in(claim)
    assert moved.held is not None
    assert (moved.state, moved.held.runtime, moved.alternative) == (S.GRANTED, "spare", 1)
    assert live(await site.world.runtime("chat")) == {"system": 1}
    assert "runtime.fallback.engaged" in await site.world.topics()


async def test_without_a_fallback_it_is_revoked_with_the_reason(site: Site) -> None:
    claim = await site.granted()
    site.world.fleet.disconnect("n1", site.world.clock.now())
    await site.passes(40, renewing=())
    ended = await site.claim(claim.id)
    assert ended.state is S.REVOKED
    assert ended.problem is not None
    assert ended.problem.reason == "NODE_OFFLINE"
    assert ended.held is None


@pytest.mark.parametrize("how", ["moved", "shut down", "deleted"])
async def test_what_is_taken_away_suspends_the_claim_and_then_ends_it(site: Site, how: str) -> None:
    claim = await site.granted()
    chat = await site.world.runtime("chat")
    if how == "moved":
        await site.moved("chat", "n2")
    elif how == "shut down":
        await site.world.has(replace(chat, desired_state=DesiredState.STOPPED))
    else:
        await site.world.store.write(lambda tx: tx.runtimes.delete(RuntimeId("chat")))
    await site.settled()
    assert (await site.claim(claim.id)).state is S.SUSPENDED
    await site.passes(30)
    assert (await site.claim(claim.id)).state is S.REVOKED


async def test_what_moved_is_held_anew_where_it_serves_with_a_higher_fence(site: Site) -> None:
    claim = await site.granted()
    await site.moved("chat", "n2")
    await site.settled()
    site.reports("chat", "n2")
    await site.settled()
    back = await site.let_in(claim)
    assert back.state is S.GRANTED
    assert back.held is not None
    assert claim.held is not None
    assert (back.held.node, back.alternative) == ("n2", 0)
    assert back.held.hold.fence > claim.held.hold.fence


async def test_nothing_is_given_away_while_many_nodes_are_silent(site: Site) -> None:
    await site.has(*(a_server(f"r{number}", f"m{number}") for number in range(4)))
    claim = await site.granted(an_order("chat", "spare"))
    for node in ("n1", "m0", "m1", "m2"):
        site.world.fleet.disconnect(node, site.world.clock.now())
    await site.passes(120, renewing=(claim,))
    assert (await site.claim(claim.id)).state is S.SUSPENDED
    for node in ("m0", "m1", "m2"):
        site.world.fleet.connect(node)
    await site.settled()
    await site.passes(29, renewing=(claim,))
    assert (await site.claim(claim.id)).state is S.SUSPENDED
    await site.passes(5, renewing=(claim,))
    assert (await site.claim(claim.id)).state is S.RESERVED


@pytest.mark.parametrize("jump", [timedelta(hours=2), timedelta(), -timedelta(hours=2)])
async def test_a_restart_ends_no_claim_whatever_the_clock_says_then(site: Site, jump: timedelta) -> None:
    kept, lost = await site.granted(), await site.granted()
    site.world.clock.advance(jump)
    after = site.restarted()
    await after.settled()
    assert [(await after.claim(one.id)).state for one in (kept, lost)] == [S.GRANTED, S.GRANTED]
    for node in ("n1", "n2"):
        after.world.fleet.connect(node)
        await after.synced(node)
    await after.passes(2 * TTL.total_seconds(), renewing=(kept,))
    assert [(await after.claim(one.id)).state for one in (kept, lost)] == [S.GRANTED, S.EXPIRED]


async def test_a_node_that_does_not_take_the_hold_in_time_loses_it_and_the_claim_waits_again(site: Site) -> None:
    claim = await site.acquire(MINE, an_order())
    assert claim.held is not None
    site.reports("chat", "n1", InstanceState.ERROR)
    await site.passes(30, renewing=(claim,))
    again = await site.claim(claim.id)
    assert (again.state, again.held) == (S.QUEUED, None)
    assert claim.id not in live(await site.world.runtime("chat"))


async def test_room_that_is_promised_is_not_given_away_before_and_is_there_in_time(site: Site) -> None:
    start = NOON + timedelta(seconds=100)
    booked = await site.acquire(MINE, an_order(exclusive=True, window=Window(start, start + timedelta(seconds=60))))
    assert (booked.state, booked.booked) == (S.QUEUED, "chat")
    short = await site.granted(an_order(), project="theirs")
    assert short.not_after == start
    late = await site.acquire(ProjectId("theirs"), an_order(ttl=timedelta(seconds=200)))
    assert late.state is S.QUEUED
    await site.passes(100, renewing=(short, booked, late))
    assert (await site.claim(short.id)).state is S.EXPIRED
    await site.synced("n1")
    await site.settled()
    mine = await site.let_in(booked)
    assert mine.state is S.GRANTED
    await site.passes(60, renewing=(late,))
    assert (await site.claim(booked.id)).state is S.EXPIRED


async def test_what_was_promised_is_not_promised_twice(site: Site) -> None:
    window = Window(NOON + timedelta(hours=1), NOON + timedelta(hours=2))
    await site.acquire(MINE, an_order(window=window))
    await site.acquire(MINE, an_order(window=window))
    third = await site.acquire(MINE, an_order(window=window))
    assert third.state is S.REJECTED
    assert third.problem is not None
    assert "promised to others" in third.problem.text
    after = Window(NOON + timedelta(hours=2), NOON + timedelta(hours=3))
    assert (await site.acquire(MINE, an_order(exclusive=True, window=after))).state is S.QUEUED


async def test_nobody_is_driven_out_unless_the_rules_say_so(site: Site) -> None:
    claim = await site.granted(an_order(exclusive=True))
    await site.acquire(ProjectId("theirs"), an_order(exclusive=True, priority=100))
    await site.passes(50, renewing=(claim,))
    assert (await site.claim(claim.id)) == claim


async def test_where_the_rules_say_so_the_less_important_goes_after_its_notice() -> None:
    site = await a_site(a_server("chat", "n1"), rules=Rules(preempt_margin=10))
    low, high = await site.granted(an_order()), await site.granted(an_order(priority=95))
    asking = await site.acquire(ProjectId("theirs"), an_order(priority=100))
    await site.settled()
    told = await site.claim(low.id)
    assert (told.state, (await site.claim(high.id)).notice) == (S.GRANTED, None)
    assert told.notice is not None
    assert told.notice.until == NOON + timedelta(seconds=30)
    await site.passes(30, renewing=(low, high, asking))
    gone = await site.claim(low.id)
    assert gone.state is S.REVOKED
    assert gone.problem is not None
    assert gone.problem.reason == "PREEMPTED"
    assert (await site.heard(asking)).state is S.RESERVED


@pytest.mark.parametrize("fault", Fault)
async def test_what_could_not_be_stored_is_done_once_it_can(site: Site, fault: Fault) -> None:
    claim = await site.acquire(MINE, an_order())
    await site.synced("n1")
    store = FaultyStore(site.world.store)
    broken = SettleClaims(
        store,
        Sight(site.world.mirror, site.world.fleet),
        site.world.clock,
        book=site.book,
        dues=site.dues,
        owners=ClaimOwners(site.book, ProjectBook(site.world.store)),
        amnesty=timedelta(),
    )
    store.fail_next(fault)
    with pytest.raises(StorageUnavailable):
        await broken()
    await broken()
    assert (await site.claim(claim.id)).state is S.GRANTED


@pytest.mark.parametrize("fault", Fault)
async def test_a_request_that_is_repeated_after_a_fault_of_the_store_is_the_same_claim(
    site: Site, fault: Fault
) -> None:
    store, request = FaultyStore(site.world.store), str(uuid4())
    acquire = replace(site.acquire, store=store)
    store.fail_next(fault)
    with pytest.raises(StorageUnavailable):
        await acquire(MINE, an_order(exclusive=True), request)
    claim = await acquire(MINE, an_order(exclusive=True), request)
    assert claim.state is S.RESERVED
    assert [one.id for one in await site.claims()] == [claim.id]


@pytest.mark.parametrize("fault", Fault)
async def test_a_renewal_that_was_not_stored_is_refused_to_everyone_who_asked(site: Site, fault: Fault) -> None:
    claim, store = await site.granted(), FaultyStore(site.world.store)
    renew = RenewClaims(store, site.world.clock, site.dues)
    asked = [asyncio.ensure_future(renew(MINE, claim.id)) for _ in range(2)]
    await asyncio.sleep(0)
    store.fail_next(fault)
    assert await renew.flush() == 0
    for one in asked:
        with pytest.raises(StorageUnavailable):
            await one
