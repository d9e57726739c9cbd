"""Claims as others see them while they go on: those who wait, who watch, and who look from another replica."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from datetime import timedelta

import pytest

from control_plane.domain.claims.claim import Claim, ClaimState, Window
from control_plane.domain.claims.holds import live
from control_plane.domain.errors import NotFound, ProjectDisabled
from control_plane.domain.ids import ClaimId, ProjectId, RuntimeId
from control_plane.domain.instance import InstanceState
from control_plane.use_cases.claims.agenda import ClaimAgenda
from control_plane.use_cases.claims.facts import Sight
from control_plane.use_cases.claims.read_claims import ClaimFilter, ClaimView, GetClaim, ListClaims
from control_plane.use_cases.claims.watch_claims import ClaimChange, FollowClaim, WatchClaims
from control_plane.use_cases.lost_history import begin_anew
from control_plane.use_cases.rows import save_runtime
from tests.fakes.claims import MINE, TTL, Site, a_server, a_site, an_order
from tests.fakes.clock import NOON

S = ClaimState
THEIRS = ProjectId("theirs")
AT_ONCE = timedelta(milliseconds=1)


@pytest.fixture
async def site() -> Site:
    return await a_site(a_server("chat", "n1", slots=1), a_server("spare", "n2"))


def following(site: Site, claim: Claim) -> AsyncIterator[ClaimView]:
    get = GetClaim(site.world.store, site.waits)
    return FollowClaim(get, site.book, site.renew, site.world.clock, AT_ONCE)(claim)


async def test_whoever_waits_hears_its_place_then_that_it_has_its_turn_and_no_more(site: Site) -> None:
    first = await site.granted()
    second = await site.acquire(THEIRS, an_order())
    told = following(site, second)
    shown = await anext(told)
    assert (shown.claim.state, shown.wait and shown.wait.position) == (S.QUEUED, 1)
    await site.release(first.id)
    await site.heard(second)
    assert (await anext(told)).claim.state is S.RESERVED
    await site.let_in(second)
    assert (await anext(told)).claim.state is S.GRANTED
    with pytest.raises(StopAsyncIteration):
        await anext(told)


async def test_whoever_listens_need_not_renew(site: Site) -> None:
    first = await site.granted()
    second = await site.acquire(THEIRS, an_order())
    told = following(site, second)
    await anext(told)
    listening = asyncio.ensure_future(states(told))
    for _ in range(4):
        site.world.clock.advance(TTL / 3)
        await until_asked(site)
        await site.renewed(first.id)
        await site.settled()
    assert (await site.claim(second.id)).state is S.QUEUED
    await site.release(second.id, THEIRS)
    await site.book.look()
    assert (await listening) - {S.QUEUED} == {S.RELEASED}


async def states(told: AsyncIterator[ClaimView]) -> set[ClaimState]:
    return {view.claim.state async for view in told}


async def until_asked(site: Site) -> None:
    """Somebody wants a renewal, and has it."""
    async with asyncio.timeout(10):
        while not await site.renew.flush():  # noqa: ASYNC110 - nobody tells when somebody asks
            await asyncio.sleep(0)


async def test_a_claim_that_ends_while_it_is_followed_is_told_as_it_ended(site: Site) -> None:
    await site.granted()
    second = await site.acquire(THEIRS, an_order())
    told = following(site, second)
    await anext(told)
    await site.revoke(second.id)
    assert [view.claim.state async for view in told] == [S.REVOKED]


async def test_a_promised_window_is_waited_for_until_it_begins(site: Site) -> None:
    start = NOON + timedelta(hours=1)
    order = an_order(window=Window(start, start + timedelta(hours=1)))
    claim = await site.acquire(MINE, order)
    wait = await site.waiting(claim)
    assert (wait.eta, wait.runtime, wait.problem.reason) == (start, "chat", "CLAIM_WAITING")


async def test_a_replica_that_settles_nothing_knows_the_place_in_the_line_as_well(site: Site) -> None:
    await site.granted()
    claims = [await site.acquire(ProjectId(f"p{number}"), an_order()) for number in range(3)]
    other = Site(site.world)
    assert [(await other.waiting(claim)).position for claim in claims] == [1, 2, 3]
    assert all([(await other.waiting(claim)).eta for claim in claims])


async def test_a_watch_tells_what_is_there_then_each_change_and_what_was_forgotten(site: Site) -> None:
    claim = await site.granted()
    await site.granted(an_order("spare"), project=THEIRS)
    changes = watching(site, MINE)
    assert _told(await anext(changes)) == (claim.id, S.GRANTED)
    assert (await anext(changes)).synced
    await site.release(claim.id)
    await site.granted(an_order("spare"), project=THEIRS)
    await site.book.look()
    assert _told(await anext(changes)) == (claim.id, S.RELEASED)
    await site.world.store.write(lambda tx: tx.claims.delete(claim.id))
    await site.book.look()
    forgotten = await anext(changes)
    assert (forgotten.claim, forgotten.deleted) == (claim.id, True)


async def test_to_watch_one_that_is_not_there_or_of_another_project_is_refused(site: Site) -> None:
    theirs = await site.granted(project=THEIRS)
    for claim in (theirs.id, ClaimId("nobody")):
        with pytest.raises(NotFound):
            await anext(watching(site, MINE, claim))


async def test_a_list_may_be_of_a_runtime_and_of_those_that_are_not_over(site: Site) -> None:
    one, other = await site.granted(), await site.granted(an_order("spare"))
    over = await site.granted(an_order("spare"))
    await site.release(over.id)

    async def listed(**wanted: object) -> list[ClaimId]:
        page = await ListClaims(site.world.store)(ClaimFilter(**wanted))  # type: ignore[arg-type]
        assert all((view.lease is None) == view.claim.state.over for view in page.items)
        return [view.claim.id for view in page.items]

    assert await listed(runtime=RuntimeId("chat")) == [one.id]
    assert await listed(live=True) == sorted([one.id, other.id])
    assert len(await listed()) == 3


@pytest.mark.parametrize("deleted", [True, False])
async def test_claims_end_with_their_project_and_new_ones_are_refused(site: Site, deleted: bool) -> None:
    held, waiting = await site.granted(), await site.acquire(MINE, an_order())
    theirs = await site.granted(an_order("spare"), project=THEIRS)
    row = await site.world.store.read(lambda tx: tx.projects.get(MINE))
    assert row is not None
    disabled = replace(row, disabled=True)
    await site.world.store.write(lambda tx: tx.projects.delete(MINE) if deleted else tx.projects.put(disabled))
    await site.settled()
    for claim in (held, waiting):
        ended = await site.claim(claim.id)
        reason = "NOT_FOUND" if deleted else "PROJECT_DISABLED"
        assert (ended.state, ended.problem and ended.problem.reason) == (S.REVOKED, reason)
    assert (await site.claim(theirs.id)).state is S.GRANTED
    with pytest.raises(NotFound if deleted else ProjectDisabled):
        await site.acquire(MINE, an_order())


async def test_a_runtime_that_is_declared_again_goes_on_counting_its_fences(site: Site) -> None:
    for _ in range(5):
        await site.release((await site.granted()).id)
        await site.synced("n1")
    seen = max(live(await site.world.runtime("chat")).values())
    again = replace(a_server("chat", "n1", slots=1), uid="another", revision=0)
    await site.world.store.write(lambda tx: tx.runtimes.delete(RuntimeId("chat")))
    await site.world.store.write(lambda tx: save_runtime(tx, again, NOON))
    assert min(live(await site.world.runtime("chat")).values()) > seen


async def test_a_history_that_begins_anew_gives_no_fence_again(site: Site) -> None:
    before = await site.granted()
    lost = 500_000
    await site.world.store.write(lambda tx: begin_anew(tx, tx.revision() + lost, NOON))
    after = await site.granted(an_order("spare"))
    assert before.held is not None
    assert after.held is not None
    assert after.held.hold.fence > before.held.hold.fence + lost


async def test_what_happens_to_one_instance_is_nothing_to_the_claims_on_others(site: Site) -> None:
    one, other = await site.granted(), await site.granted(an_order("spare"))
    agenda = ClaimAgenda(site.book, Sight(site.world.mirror, site.world.fleet), site.dues)

    def due() -> Collection[ClaimId]:
        found = agenda.due(site.world.clock.now(), amnesty=False)
        for claim in found:
            agenda.schedule(claim)
        return {claim.id for claim in found}

    assert due() == {one.id, other.id}
    assert due() == set()
    site.reports("spare", "n2", InstanceState.ERROR)
    assert due() == {other.id}
    site.world.fleet.disconnect("n1", site.world.clock.now())
    assert due() == {one.id}
    assert due() == set()
    site.world.clock.advance(TTL)
    assert due() == {one.id, other.id}


def watching(site: Site, project: ProjectId, claim: ClaimId | None = None) -> AsyncIterator[ClaimChange]:
    return WatchClaims(site.world.store, site.book)(project, claim)


def _told(change: ClaimChange) -> tuple[ClaimId | None, ClaimState | None]:
    return change.claim, change.view.claim.state if change.view else None
