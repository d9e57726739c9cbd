"""Claims that the gateway takes for keys."""

from __future__ import annotations

from datetime import timedelta

import pytest

from control_plane.data_path.implicit_claims import IDLE, STAY, TTL, is_implicit
from control_plane.domain.claims.claim import Claim, ClaimState
from control_plane.domain.ids import ProjectId
from gateway.refusals import RuntimeClaimed
from tests.fakes.claim_gate import Gate, a_gate
from tests.fakes.claims import MINE, an_order

OTHER = ProjectId("theirs")


async def the_claim(gate: Gate, project: ProjectId = MINE) -> Claim:
    """The newest that the gateway took for the project."""
    found = [claim for claim in await gate.site.claims() if claim.project == project and is_implicit(claim)]
    return max(found, key=lambda claim: (claim.create_time, not claim.state.over))


async def used(gate: Gate, project: ProjectId = MINE) -> Claim:
    """One request came and is over, and its claim is granted."""
    gate.table.left(gate.by_key(project))
    await gate.tended()
    return await the_claim(gate, project)


async def passed(gate: Gate, time: timedelta, *, used_by: tuple[ProjectId, ...] = ()) -> None:
    """Time goes by, and these ask again and again."""
    step = timedelta(seconds=5)
    while time > timedelta():
        gate.site.world.clock.advance(min(step, time))
        time -= step
        for project in used_by:
            gate.table.left(gate.by_key(project))
        await gate.tended()


async def test_the_first_request_of_a_key_waits_for_no_claim_and_those_after_it_come_under_one() -> None:
    gate = await a_gate(2)
    assert gate.by_key().claim == "system"
    await gate.tended()
    claim = await the_claim(gate)
    assert (claim.state, claim.order.exclusive, claim.requirement.model_tag) == (ClaimState.GRANTED, False, "chat")
    assert claim.held is not None
    again = gate.by_key()
    assert (again.claim, again.fence) == (claim.id, claim.held.hold.fence)
    assert gate.by_key(OTHER).claim == "system", "each project has its own"


async def test_one_claim_stands_for_all_requests_and_writes_nothing_for_any_of_them() -> None:
    gate = await a_gate(2)
    await used(gate)
    before = await gate.site.world.store.read(lambda tx: tx.revision())
    for _ in range(100):
        gate.table.left(gate.by_key())
    await gate.tended()
    assert await gate.site.world.store.read(lambda tx: tx.revision()) == before
    assert len(await gate.site.claims()) == 1


async def test_it_is_renewed_while_it_is_used_and_given_up_when_it_is_not() -> None:
    gate = await a_gate(2)
    claim = await used(gate)
    await passed(gate, 3 * TTL, used_by=(MINE,))
    assert (await gate.site.claim(claim.id)).state is ClaimState.GRANTED
    await passed(gate, IDLE + timedelta(seconds=5))
    assert (await gate.site.claim(claim.id)).state is ClaimState.RELEASED


async def test_a_request_that_lasts_keeps_its_claim_however_long_nobody_else_asks() -> None:
    gate = await a_gate(2)
    claim = await used(gate)
    route = gate.by_key()
    await passed(gate, 3 * TTL)
    assert (await gate.site.claim(claim.id)).state is ClaimState.GRANTED
    gate.table.left(route)
    await passed(gate, IDLE + timedelta(seconds=5))
    assert (await gate.site.claim(claim.id)).state is ClaimState.RELEASED


async def test_operators_pass_by_the_system_s_hold_and_take_nothing() -> None:
    gate = await a_gate(2)
    assert gate.by_key(project="").claim == "system"
    await gate.tended()
    assert await gate.site.claims() == []


async def test_who_finds_no_slot_passes_as_ever_while_nobody_has_it_alone() -> None:
    gate = await a_gate(1)
    await used(gate)
    waiting = await used(gate, OTHER)
    assert waiting.state is ClaimState.QUEUED
    assert gate.by_key(OTHER).claim == "system"


async def test_what_a_claim_has_alone_is_open_to_no_key_and_to_no_operator() -> None:
    gate = await a_gate(2, 2)
    claim = await gate.site.granted(an_order(exclusive=True), OTHER)
    for project in (MINE, ""):
        with pytest.raises(RuntimeClaimed, match="chat is held by a claim of another project, alone") as raised:
            gate.by_key(project)
        assert (raised.value.status, raised.value.reason) == (503, "IN_USE")
        assert {gate.by_key(project, "tiny").model_alias for _ in range(4)} == {"chat-2"}
    with pytest.raises(RuntimeClaimed, match="of this project, alone") as raised:
        gate.by_key(OTHER)
    assert f"X-ARW-Claim: {claim.id}" in raised.value.remedy


async def test_a_key_that_finds_it_taken_stands_in_line_and_hears_when_it_may_come_again() -> None:
    gate = await a_gate(2)
    holder = await gate.site.granted(an_order(exclusive=True), OTHER)
    with pytest.raises(RuntimeClaimed):
        gate.by_key()
    await gate.tended()
    with pytest.raises(RuntimeClaimed):
        gate.by_key()
    await gate.waits.look()
    with pytest.raises(RuntimeClaimed, match="It may be free at ") as raised:
        gate.by_key()
    assert raised.value.retry_after is not None
    assert 0 < raised.value.retry_after <= 60
    await gate.site.release(holder.id, OTHER)
    await gate.site.settled()
    for _ in range(2):
        await gate.tended()
    assert gate.by_key().claim == (await the_claim(gate)).id


async def test_it_yields_to_who_waits_with_a_claim_of_their_own_once_it_had_its_time() -> None:
    gate = await a_gate(2)
    mine = await used(gate)
    route = gate.by_key()
    alone = await gate.site.acquire(OTHER, an_order(exclusive=True, ttl=timedelta(hours=1)))
    await passed(gate, STAY - timedelta(seconds=5))
    assert gate.by_key().claim == mine.id
    gate.table.left(gate.by_key())
    await passed(gate, timedelta(seconds=10))
    assert gate.by_key().claim == "system", "nothing new comes under it"
    assert (await gate.site.claim(mine.id)).state is ClaimState.GRANTED, "what is under it is not cut"
    gate.table.left(route)
    gate.implicit.left(mine.id)
    await passed(gate, timedelta(seconds=15))
    assert (await gate.site.claim(mine.id)).state is ClaimState.RELEASED
    assert (await gate.site.claim(alone.id)).state is ClaimState.GRANTED
    with pytest.raises(RuntimeClaimed):
        gate.by_key()


async def test_a_claim_that_somebody_took_away_is_asked_for_again_after_a_while() -> None:
    gate = await a_gate(2)
    first = await used(gate)
    await gate.site.revoke(first.id)
    await gate.site.settled()
    assert gate.by_key().claim == "system"
    await passed(gate, timedelta(seconds=20), used_by=(MINE,))
    again = await the_claim(gate)
    assert (again.id != first.id, again.state) == (True, ClaimState.GRANTED)
