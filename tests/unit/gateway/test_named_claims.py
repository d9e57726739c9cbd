"""Requests that name a claim: where they go, and what they hear when they may not pass."""

from __future__ import annotations

import pytest

from control_plane.domain.claims.claim import ClaimState
from control_plane.domain.ids import NodeId, ProjectId, RuntimeId
from control_plane.domain.instance import InstanceState
from gateway.ports import Task
from gateway.refusals import (
    ClaimForeign,
    ClaimNotFound,
    ClaimOver,
    ClaimSuspended,
    ClaimWaiting,
    NotServing,
    WrongModel,
    WrongTask,
)
from tests.fakes.claim_gate import a_gate
from tests.fakes.claims import MINE, a_server, an_order

OTHER = ProjectId("theirs")


async def test_a_request_goes_to_what_its_claim_holds_by_its_fence_whatever_else_has_the_name() -> None:
    gate = await a_gate(2, 2)
    claim = await gate.site.granted(an_order("tiny"))
    assert claim.held is not None
    for model in ("tiny", claim.held.runtime):
        routes = {gate.ask(claim, model) for _ in range(4)}
        assert {(route.model_alias, route.node) for route in routes} == {(claim.held.runtime, claim.held.node)}
        assert {(route.claim, route.fence) for route in routes} == {(claim.id, claim.held.hold.fence)}


async def test_an_operator_may_use_the_claim_of_any_project_and_a_project_only_its_own() -> None:
    gate = await a_gate(2)
    claim = await gate.site.granted()
    assert gate.ask(claim, project="").claim == claim.id
    refusal = gate.refusal(claim, project=OTHER)
    assert (type(refusal), refusal.status, refusal.reason) == (ClaimForeign, 403, "PERMISSION_DENIED")


async def test_a_claim_is_not_for_another_model_nor_for_what_its_runtime_cannot_do() -> None:
    gate = await a_gate(2)
    await gate.site.declared(a_server("other", "n1"))
    claim = await gate.site.granted()
    wrong = gate.refusal(claim, "other")
    assert (type(wrong), wrong.text) == (WrongModel, f"Claim {claim.id} is not for 'other'.")
    assert "'chat'" in wrong.remedy
    assert isinstance(gate.refusal(claim, task=Task.SPEECH), WrongTask)


async def test_nobody_s_claim_is_not_found_and_one_that_is_over_says_so_to_its_project_alone() -> None:
    gate = await a_gate(2)
    claim = await gate.site.granted()
    with pytest.raises(ClaimNotFound):
        gate.table.resolve("chat", claim="nobodys")
    await gate.site.release(claim.id)
    await gate.site.settled()
    over = gate.refusal(claim)
    assert (type(over), over.status, over.reason) == (ClaimOver, 409, "NOTHING_HELD")
    assert f"arwctl claim show {claim.id}" in over.remedy
    assert isinstance(gate.refusal(claim, project=OTHER), ClaimForeign)


async def test_a_claim_that_waits_says_at_which_position_why_and_when_to_come_again() -> None:
    gate = await a_gate(1)
    await gate.site.granted(an_order(exclusive=True))
    second = await gate.site.acquire(OTHER, an_order(exclusive=True))
    await gate.site.settled()
    first = gate.refusal(second, project=OTHER)
    assert (type(first), first.retry_after) == (ClaimWaiting, 10)
    await gate.waits.look()
    refusal = gate.refusal(second, project=OTHER)
    assert "waits at position 1. Runtime chat is in use" in refusal.text
    assert refusal.retry_after == 60


async def test_a_reserved_claim_waits_for_its_node_for_a_moment() -> None:
    gate = await a_gate(2)
    claim = await gate.site.acquire(MINE, an_order())
    await gate.site.book.look()
    refusal = gate.refusal(claim)
    assert (type(refusal), refusal.retry_after) == (ClaimWaiting, 1)


async def test_a_suspended_claim_says_why_until_its_fallback_answers() -> None:
    gate = await a_gate(2)
    await gate.site.declared(a_server("spare", "n1"))
    claim = await gate.site.granted(an_order("chat", "spare"))
    gate.site.reports("chat", "n1", InstanceState.ERROR)
    await gate.site.settled()
    suspended = gate.refusal(claim)
    assert (type(suspended), suspended.status, suspended.reason) == (ClaimSuspended, 503, "CLAIM_SUSPENDED")
    assert suspended.text.startswith(f"Claim {claim.id} is suspended. ")
    assert "its fallback answers" in suspended.remedy
    assert suspended.retry_after == 10
    await gate.site.passes(30, renewing=(claim,))
    moved = await gate.site.let_in(claim)
    assert moved.state is ClaimState.GRANTED
    assert moved.held is not None
    for model in ("chat", "spare"):
        route = gate.ask(claim, model)
        assert (route.model_alias, route.fence) == ("spare", moved.held.hold.fence), (
            "by the name it asked for before too"
        )


async def test_a_claim_that_lost_its_hold_does_not_pass_by_the_hold_it_had() -> None:
    gate = await a_gate(2)
    claim = await gate.site.granted()
    await gate.site.moved("chat", "n1")
    await gate.site.world.mirror.look()
    await gate.site.book.look()
    assert (await gate.site.claim(claim.id)).state is ClaimState.GRANTED
    assert isinstance(gate.refusal(claim), ClaimSuspended)


async def test_what_failed_once_is_not_tried_again_and_nothing_else_is_either() -> None:
    gate = await a_gate(2, 2)
    claim = await gate.site.granted()
    tried = [gate.ask(claim).instance]
    with pytest.raises(NotServing, match="holds nothing else"):
        gate.table.resolve("chat", Task.TEXT, "mine", tried, claim=claim.id)


async def test_f11_the_claim_stays_with_its_fallback_and_the_node_that_returns_lets_it_in_no_more() -> None:
    gate = await a_gate(2)
    site = gate.site
    await site.has(a_server("spare", "n2"))
    claim = await site.granted(an_order("chat", "spare"))
    before = gate.ask(claim)
    site.world.fleet.disconnect("n1", site.world.clock.now())
    await site.settled()
    assert isinstance(gate.refusal(claim), ClaimSuspended)
    await site.passes(30, renewing=(claim,))
    await site.let_in(claim)
    after = gate.ask(claim)
    assert (after.model_alias, after.node) == ("spare", "n2")
    site.world.fleet.connect("n1", site.world.clock.now())
    site.reports("chat", "n1")
    await site.settled()
    assert site.lets_in[NodeId("n1")][RuntimeId("chat")][before.claim] == before.fence, "it has not heard yet"
    assert gate.ask(claim) == after
    await site.synced("n1")
    await site.settled()
    assert before.claim not in site.lets_in[NodeId("n1")][RuntimeId("chat")]
    assert gate.ask(claim) == after
