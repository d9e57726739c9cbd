"""Claims from the first word to the end, over the store in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.claims.claim import Claim, ClaimState, RuntimeClaim, Window
from control_plane.domain.claims.holds import live
from control_plane.domain.claims.states import NEXT, IllegalTransition, turned
from control_plane.domain.errors import InvalidArgument, NotFound, NothingHeld, RateLimited, RequestIdReused
from control_plane.domain.footprint import Footprint, FootprintKey
from control_plane.domain.ids import ClaimId, NodeId, ProjectId, RuntimeId
from control_plane.domain.runtime import Modality
from control_plane.use_cases.claims.acquire_claim import Quota
from control_plane.use_cases.claims.prune_claims import PruneClaims
from control_plane.use_cases.claims.read_claims import ClaimFilter, GetClaim, ListClaims
from tests.fakes.claims import MINE, TTL, Site, a_server, a_site, an_order
from tests.fakes.clock import NOON
from tests.fakes.control_plane import an_instance

S = ClaimState
N1 = NodeId("n1")
SECOND = timedelta(seconds=1)


@pytest.fixture
async def site() -> Site:
    return await a_site(a_server("chat", "n1"), a_server("spare", "n2"))


async def test_a_claim_is_reserved_at_once_and_granted_when_its_node_lets_it_in(site: Site) -> None:
    claim = await site.acquire(MINE, an_order())
    assert claim.state is S.RESERVED
    await site.settled()
    assert (await site.claim(claim.id)).state is S.RESERVED
    claim = await site.let_in(claim)
    assert claim.state is S.GRANTED
    assert claim.held is not None
    assert site.lets_in[N1][RuntimeId("chat")] == {"system": 1, claim.id: claim.held.hold.fence}


async def test_a_hold_changes_neither_generation_nor_etag_of_its_runtime(site: Site) -> None:
    before = await site.world.runtime("chat")
    await site.granted()
    after = await site.world.runtime("chat")
    assert (after.generation, after.etag, after.update_time) == (before.generation, before.etag, before.update_time)
    (row,) = await site.world.store.read(lambda tx: tx.desired.live(N1))
    assert row.generation == before.generation
    assert row.revision == after.revision


async def test_as_many_share_it_as_there_are_slots_and_the_next_waits_with_position_reason_and_time(site: Site) -> None:
    one, other = await site.granted(), await site.granted(project="theirs")
    third, fourth = [await site.acquire(MINE, an_order()) for _ in range(2)]
    await site.settled()
    assert (third.state, fourth.state) == (S.QUEUED, S.QUEUED)
    waits = [await site.waiting(claim) for claim in (third, fourth)]
    assert [(wait.position, wait.problem.reason, wait.runtime) for wait in waits] == [
        (1, "IN_USE", "chat"),
        (2, "IN_USE", "chat"),
    ]
    assert [wait.eta for wait in waits] == [NOON + TTL, NOON + TTL]
    assert "2 of its 2 slots are taken" in waits[0].problem.text
    await site.release(one.id)
    assert (await site.let_in(await site.heard(third))).state is S.GRANTED
    assert (await site.claim(other.id)) == other


async def test_whoever_has_it_alone_has_it_without_the_system_which_returns_with_a_new_fence(site: Site) -> None:
    alone = await site.granted(an_order(exclusive=True))
    assert alone.held is not None
    assert site.lets_in[N1][RuntimeId("chat")] == {alone.id: alone.held.hold.fence}
    await site.release(alone.id)
    fence = live(await site.world.runtime("chat"))["system"]
    assert fence > alone.held.hold.fence


async def test_without_word_from_the_node_the_next_waits_for_the_lock_delay(site: Site) -> None:
    first = await site.granted(an_order(exclusive=True))
    second = await site.acquire(MINE, an_order(exclusive=True))
    await site.release(first.id)
    await site.passes(14, step=7)
    assert (await site.claim(second.id)).state is S.QUEUED
    await site.passes(1)
    assert (await site.claim(second.id)).state is S.RESERVED


async def test_a_release_that_the_node_confirmed_makes_room_at_once(site: Site) -> None:
    first = await site.granted(an_order(exclusive=True))
    second = await site.acquire(MINE, an_order(exclusive=True))
    await site.release(first.id)
    assert (await site.heard(second)).state is S.RESERVED


async def test_a_shared_claim_does_not_pass_one_that_wants_the_instance_alone(site: Site) -> None:
    sharing = await site.granted()
    alone = await site.acquire(ProjectId("theirs"), an_order(exclusive=True))
    late = await site.acquire(ProjectId("others"), an_order())
    await site.settled()
    assert (await site.claim(late.id)).state is S.QUEUED
    assert "came before" in (await site.waiting(late)).problem.text
    await site.release(sharing.id)
    assert (await site.heard(alone)).state is S.RESERVED


async def test_whoever_is_not_renewed_expires_and_whoever_is_lives_on(site: Site) -> None:
    lost, kept = await site.granted(), await site.granted()
    await site.passes(2 * TTL.total_seconds(), renewing=(kept,))
    assert (await site.claim(lost.id)).state is S.EXPIRED
    assert (await site.claim(kept.id)).state is S.GRANTED
    assert await site.world.store.read(lambda tx: [lease.id for lease in tx.claim_leases.all()]) == [kept.id]


async def test_renewals_take_no_revision_and_tell_nobody(site: Site) -> None:
    claim = await site.granted()
    before = await site.world.revision(), len(await site.world.events())
    await site.renewed(claim.id)
    assert (await site.world.revision(), len(await site.world.events())) == before


async def test_a_renewal_by_another_replica_counts(site: Site) -> None:
    claim = await site.granted()
    other = Site(site.world)
    site.world.clock.advance(TTL - SECOND)
    await other.renewed(claim.id)
    site.world.clock.advance(2 * SECOND)
    await site.settled()
    assert (await site.claim(claim.id)).state is S.GRANTED
    site.world.clock.advance(TTL)
    await site.settled()
    assert (await site.claim(claim.id)).state is S.EXPIRED


async def test_what_is_over_can_not_be_renewed_and_the_refusal_says_what_to_do(site: Site) -> None:
    claim = await site.granted()
    await site.revoke(claim.id)
    with pytest.raises(NothingHeld, match="revoked") as refusal:
        await site.renewed(claim.id)
    assert "Claim anew" in refusal.value.remedy


@pytest.mark.parametrize("name", ["nothing", "theirs"])
async def test_a_claim_of_another_project_is_as_unknown_as_one_that_never_was(site: Site, name: str) -> None:
    claim = await site.granted(project="theirs") if name == "theirs" else None
    known = claim.id if claim else ClaimId("0" * 32)
    said = []
    for act in (site.renewed, site.release, lambda id_: GetClaim(site.world.store, site.waits)(MINE, id_)):
        with pytest.raises(NotFound) as refusal:
            await act(known)
        said.append(refusal.value.text)
    assert said == [f"There is no claim {known}."] * 3


async def test_the_same_request_is_the_same_claim_in_its_project_and_no_other_content_goes_by_it(site: Site) -> None:
    request = str(uuid4())
    first = await site.acquire(MINE, an_order(), request)
    assert await site.acquire(MINE, an_order(), request.upper()) == first
    with pytest.raises(RequestIdReused):
        await site.acquire(MINE, an_order(priority=1), request)
    assert (await site.acquire(ProjectId("theirs"), an_order(), request)).id != first.id
    with pytest.raises(InvalidArgument, match="no UUID"):
        await site.acquire(MINE, an_order(), "again")


async def test_releasing_again_changes_nothing(site: Site) -> None:
    claim = await site.granted()
    once = await site.release(claim.id)
    revision = await site.world.revision()
    assert await site.release(claim.id) == once
    assert await site.world.revision() == revision


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (an_order("nothing"), "NOT_FOUND"),
        (an_order(wanted={"context_window": 8192}), "CONTEXT_INSUFFICIENT"),
        (an_order(wanted={"modality": Modality.AUDIO}), "MODALITY_MISSING"),
        (an_order(wanted={"features": ("embeddings",)}), "FEATURE_MISSING"),
    ],
)
async def test_what_nothing_that_is_declared_can_do_is_rejected_with_the_reason(
    site: Site, order: RuntimeClaim, reason: str
) -> None:
    claim = await site.acquire(MINE, order)
    assert claim.state is S.REJECTED
    assert claim.problem is not None
    assert claim.problem.reason == reason
    assert claim.problem.remedy
    assert await site.world.topics() == ["runtime.claim.request", "runtime.claim.rejected"]


async def test_what_may_come_by_itself_is_waited_for_with_the_reason(site: Site) -> None:
    measured = Footprint(FootprintKey("ab", "cd", "", AcceleratorKind.CPU), 1, generated_tokens_per_second=4.0)
    site.world.fleet.record(an_instance("spare", "n2", footprint=measured))
    orders = {
        "THROUGHPUT_UNKNOWN": an_order(wanted={"min_tokens_per_sec": 5.0}),
        "THROUGHPUT_INSUFFICIENT": an_order("spare", wanted={"min_tokens_per_sec": 5.0}),
        "ACCELERATOR_MISSING": an_order(wanted={"accelerator": AcceleratorKind.GPU_CUDA}),
    }
    claims = {reason: await site.acquire(MINE, order) for reason, order in orders.items()}
    await site.settled()
    assert {reason: (await site.waiting(claim)).problem.reason for reason, claim in claims.items()} == {
        reason: reason for reason in orders
    }
    assert (await site.acquire(MINE, an_order("spare", wanted={"min_tokens_per_sec": 4.0}))).state is S.RESERVED


BAD: list[Callable[[], RuntimeClaim]] = [
    lambda: an_order(ttl=timedelta(seconds=14)),
    lambda: an_order(ttl=timedelta(hours=25)),
    lambda: an_order(priority=101),
    lambda: an_order(max_disruption=-SECOND),
    lambda: an_order(stop_after=timedelta()),
    lambda: an_order(""),
    lambda: an_order("chat", *["spare"] * 9),
    lambda: an_order(wanted={"min_tokens_per_sec": float("nan")}),
    lambda: an_order(wanted={"context_window": -1}),
    lambda: an_order(wanted={"features": ("",)}),
    lambda: an_order(window=Window(NOON + timedelta(hours=1))),
    lambda: an_order(window=Window(end=NOON)),
    lambda: an_order(window=Window(NOON.replace(tzinfo=None))),
    lambda: an_order(window=Window(NOON + timedelta(days=31), NOON + timedelta(days=32))),
]


@pytest.mark.parametrize("bad", BAD)
async def test_a_claim_that_makes_no_sense_is_refused_with_what_would(
    site: Site, bad: Callable[[], RuntimeClaim]
) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        await site.acquire(MINE, bad())
    assert refusal.value.remedy
    assert await site.claims() == []


async def test_a_project_has_no_more_than_its_quota(site: Site) -> None:
    acquire = replace(site.acquire, quota=Quota(waiting=1, holding=1))
    for project in ("mine", "theirs", "others"):
        await acquire(ProjectId(project), an_order())
    with pytest.raises(RateLimited, match="mine holds 1"):
        await acquire(MINE, an_order())
    with pytest.raises(RateLimited, match="others has 1 claims that wait"):
        await acquire(ProjectId("others"), an_order())


async def test_a_hold_whose_claim_is_gone_does_not_outlive_it(site: Site) -> None:
    claim = await site.granted()
    await site.world.store.write(lambda tx: tx.claims.delete(claim.id))
    await site.settled()
    assert claim.id not in live(await site.world.runtime("chat"))


async def test_a_list_has_the_claims_of_the_project_in_pages_without_gap_or_repeat(site: Site) -> None:
    mine = [(await site.acquire(MINE, an_order())).id for _ in range(5)]
    for _ in range(3):
        await site.acquire(ProjectId("theirs"), an_order())
    pages, token = [], ""
    for _ in range(3):
        page = await ListClaims(site.world.store)(ClaimFilter(MINE), 2, token)
        pages += [view.claim.id for view in page.items]
        token = page.next_token
    assert (pages, token) == (sorted(mine), "")
    assert len((await ListClaims(site.world.store)()).items) == 8


async def test_what_ended_long_ago_is_forgotten(site: Site) -> None:
    claim = await site.granted()
    await site.release(claim.id)
    prune = PruneClaims(site.world.store, site.world.clock)
    assert await prune() == 0
    site.world.clock.advance(timedelta(days=2))
    assert await prune() == 1
    assert await site.claims() == []


@pytest.mark.parametrize("before", S)
@pytest.mark.parametrize("after", S)
def test_a_claim_goes_only_where_its_state_leads(before: ClaimState, after: ClaimState) -> None:
    claim = Claim(ClaimId("c"), MINE, an_order(), NOON, before)
    if after in NEXT[before]:
        assert turned(claim, after, NOON).state is after
        return
    with pytest.raises(IllegalTransition) as refused:
        turned(claim, after, NOON)
    assert (refused.value.before, refused.value.after) == (before, after)


async def test_confirming_takes_on_only_those_of_the_node(site: Site) -> None:
    one, other = await site.acquire(MINE, an_order()), await site.acquire(MINE, an_order("spare"))
    await site.synced("n1")
    await site.synced("n2")
    assert await site.confirm([N1]) == 1
    states: Any = [(await site.claim(claim.id)).state for claim in (one, other)]
    assert states == [S.GRANTED, S.RESERVED]
