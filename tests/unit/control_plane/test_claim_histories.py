"""Claims in histories that nobody thought of: holders and nodes that vanish, moves, kills, clocks that are set."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from control_plane.domain.claims import holds as claim_holds
from control_plane.domain.claims import steps as claim_steps
from control_plane.domain.claims.claim import Claim, ClaimState
from control_plane.domain.claims.lease import Due
from control_plane.domain.claims.states import NEXT
from control_plane.domain.errors import NothingHeld
from control_plane.domain.ids import ClaimId, NodeId, ProjectId, RuntimeId
from control_plane.domain.instance import InstanceState
from control_plane.domain.runtime import DesiredState, Runtime
from control_plane.use_cases import rows
from control_plane.use_cases.claims import changes as claim_changes
from control_plane.use_cases.claims import dues as claim_dues
from tests.fakes.claims import AMNESTY, TTL, Site, a_server, an_order

S = ClaimState
NODES, NAMES = ["n1", "n2"], ["chat", "solo", "spare"]
HOMES = {"chat": ("n1", 2), "solo": ("n1", 1), "spare": ("n2", 2)}

ORDERS = st.builds(
    lambda tag, fallbacks, exclusive, priority, disruption: an_order(
        tag, *fallbacks, exclusive=exclusive, priority=priority, max_disruption=timedelta(seconds=disruption)
    ),
    st.sampled_from([*NAMES, "tiny"]),
    st.lists(st.sampled_from(NAMES), max_size=2),
    st.booleans(),
    st.integers(0, 3),
    st.sampled_from([0, 30]),
)


class Claims(RuleBasedStateMachine):
    """The real use cases on a store in memory; nodes hear late and in order, holders may just fall silent."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.site = Site()
        self.elapsed = timedelta()
        """By an even clock, whatever the one on the wall is set to."""
        self.renewals: dict[ClaimId, timedelta] = {}
        """When each holder last got the word that its claim lives on."""
        self.states: dict[ClaimId, ClaimState] = {}
        self.owners: dict[tuple[str, int], str] = {}
        """Runtime and fence -> who ever had it."""
        self.highest: dict[str, int] = {}

    def do(self, action: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(action)

    @initialize()
    def begins(self) -> None:
        self.do(self.site.has(*(a_server(name, node, slots) for name, (node, slots) in HOMES.items())))
        self.elapses(AMNESTY)

    @rule(order=ORDERS, project=st.sampled_from(["mine", "theirs"]))
    def acquires(self, order: Any, project: str) -> None:
        request = str(UUID(int=len(self.renewals)))
        claim = self.do(self.site.acquire(ProjectId(project), order, request))
        assert self.do(self.site.acquire(ProjectId(project), order, request)) == claim
        self.renewals[claim.id] = self.elapsed

    @precondition(lambda self: self.renewals)
    @rule(data=st.data())
    def renews(self, data: st.DataObject) -> None:
        claim = self.one(data)
        try:
            self.do(self.site.renewed(claim.id, claim.project))
        except NothingHeld:
            assert self.do(self.site.claim(claim.id)).state.over
        else:
            self.renewals[claim.id] = self.elapsed

    @precondition(lambda self: self.renewals)
    @rule(data=st.data(), by_operator=st.booleans())
    def ends(self, data: st.DataObject, by_operator: bool) -> None:
        claim = self.one(data)
        self.do(self.site.revoke(claim.id) if by_operator else self.site.release(claim.id, claim.project))

    @rule(seconds=st.integers(1, 40))
    def waits(self, seconds: int) -> None:
        self.elapses(timedelta(seconds=seconds))

    @rule(node=st.sampled_from(NODES), most=st.sampled_from([None, None, 1]))
    def hears(self, node: str, most: int | None) -> None:
        if self.site.world.fleet.liveness(NodeId(node)).online:
            self.do(self.site.synced(node, most))
            self.do(self.site.settled())

    @rule()
    def all_is_well(self) -> None:
        for node in NODES:
            self.is_back(node)
            self.hears(node, None)
        for name in NAMES:
            self.is_wanted(name, running=True)
            self.engine_is(name, InstanceState.READY)
        self.elapses(AMNESTY)

    @rule()
    def sends(self) -> None:
        self.do(self.site.sends())

    @rule(node=st.sampled_from(NODES))
    def is_cut_off(self, node: str) -> None:
        self.site.world.fleet.disconnect(node, self.site.world.clock.now())

    @rule(node=st.sampled_from(NODES))
    def is_back(self, node: str) -> None:
        applied = self.site.world.fleet.liveness(NodeId(node)).applied_revision
        self.site.world.fleet.connect(node, self.site.world.clock.now())
        known = self.site.world.fleet.contacts[NodeId(node)]
        self.site.world.fleet.contacts[NodeId(node)] = replace(known, applied_revision=applied)

    @rule(name=st.sampled_from(NAMES), state=st.sampled_from([InstanceState.READY, InstanceState.ERROR]))
    def engine_is(self, name: str, state: InstanceState) -> None:
        runtime = self.runtime(name)
        if runtime is not None and runtime.node is not None:
            self.site.reports(name, runtime.node, state)

    @rule(name=st.sampled_from(NAMES), node=st.sampled_from(NODES))
    def moves(self, name: str, node: str) -> None:
        runtime = self.runtime(name)
        if runtime is not None and runtime.node != node:
            self.do(self.site.moved(name, node))
            self.site.reports(name, node)

    @rule(name=st.sampled_from(NAMES))
    def is_declared_again(self, name: str) -> None:
        node, slots = HOMES[name]
        self.do(self.site.deleted(name))
        self.do(self.site.declared(replace(a_server(name, node, slots), revision=0)))

    @rule(name=st.sampled_from(NAMES), running=st.booleans())
    def is_wanted(self, name: str, running: bool) -> None:
        runtime = self.runtime(name)
        if runtime is not None:
            state = DesiredState.RUNNING if running else DesiredState.STOPPED
            self.do(self.site.world.has(replace(runtime, desired_state=state)))

    @rule(jump=st.sampled_from([-7200, 0, 0, 7200]))
    def restarts(self, jump: int) -> None:
        self.site.world.clock.advance(timedelta(seconds=jump))
        self.site = self.site.restarted()

    @rule()
    def settles(self) -> None:
        self.do(self.site.settled())

    @invariant()
    def nobody_shares_what_one_has_alone(self) -> None:
        claims = {claim.id: claim for claim in self.do(self.site.claims())}
        for runtime in self.do(self.site.runtimes()):
            now = self.site.world.clock.now()
            leaving = [one for one in runtime.holds.leaving if now < one.until <= now + claim_holds.LOCK_DELAY]
            holds = [*runtime.holds.live, *(one.hold for one in leaving)]
            assert len(holds) == 1 or not any(hold.exclusive for hold in holds)
            for hold in runtime.holds.live:
                known = claims[hold.claim].held
                assert known is not None, "a hold outlived its claim"
                assert (known.hold, known.node) == (hold, runtime.node), "a hold outlived its place"
            self.no_fence_returns(runtime)
        self.nodes_let_in_nobody_beside_them(claims)

    def no_fence_returns(self, runtime: Runtime) -> None:
        for claim, fence in sorted(claim_holds.live(runtime).items(), key=lambda pair: pair[1]):
            known = self.owners.setdefault((runtime.id, fence), claim)
            assert known == claim, "a fence was used twice"
            if self.owners.get((runtime.id, fence)) == claim and fence > self.highest.get(runtime.id, 0):
                self.highest[runtime.id] = fence
        assert claim_holds.next_fence(runtime) > self.highest.get(runtime.id, 0), "a fence would be lowered"

    def nodes_let_in_nobody_beside_them(self, claims: Mapping[ClaimId, Claim]) -> None:
        """What is granted is let in, unless its node was cut off since; alone, where it was to be alone."""
        for claim in claims.values():
            if claim.state is not S.GRANTED or claim.held is None:
                continue
            let_in = self.site.lets_in[claim.held.node].get(claim.held.runtime, {})
            assert let_in.get(claim.id) == claim.held.hold.fence, "granted, and not let in"
            assert not claim.order.exclusive or len(let_in) == 1, "another is let in beside it"
        for rooms in self.site.lets_in.values():
            for name, let_in in rooms.items():
                owners = {claim: self.owners.setdefault((name, fence), claim) for claim, fence in let_in.items()}
                assert all(claim == owner for claim, owner in owners.items()), "a fence was used twice"

    @invariant()
    def states_follow_one_another(self) -> None:
        leases = self.do(self.site.world.store.read(lambda tx: {lease.id for lease in tx.claim_leases.all()}))
        for claim in self.do(self.site.claims()):
            before = self.states.get(claim.id, claim.state)
            assert claim.state in _reachable(before), f"{before} -> {claim.state}"
            assert (claim.held is not None) == claim.state.holds
            assert (claim.id in leases) != claim.state.over
            assert (claim.end_time is not None) == claim.state.over
            self.states[claim.id] = claim.state
            self.is_not_ended_before_its_time(claim)

    def is_not_ended_before_its_time(self, claim: Claim) -> None:
        if claim.state is S.EXPIRED and self.renewals.get(claim.id) is not None:
            assert self.elapsed - self.renewals[claim.id] >= claim.order.ttl, "expired before its time"

    def teardown(self) -> None:
        try:
            if self.do(self.site.claims()):
                self.every_claim_ends()
        finally:
            self.runner.close()

    def every_claim_ends(self) -> None:
        """Nobody renews any more. A renewal that the restarted one hears of late counts once more."""
        self.elapses(2 * TTL + AMNESTY, step=timedelta(seconds=10))
        left = [claim for claim in self.do(self.site.claims()) if not claim.state.over]
        assert not left, "a claim without an end"
        self.elapses(claim_holds.LOCK_DELAY)
        assert all(not runtime.holds.live for runtime in self.do(self.site.runtimes()))

    def elapses(self, time: timedelta, step: timedelta = timedelta(seconds=40)) -> None:
        while time > timedelta():
            part = min(time, step)
            self.site.world.clock.advance(part)
            self.elapsed += part
            time -= part
            self.do(self.site.settled())

    def one(self, data: st.DataObject) -> Claim:
        claims = self.do(self.site.claims())
        ordered: list[Claim] = sorted(claims, key=lambda claim: (claim.create_time, claim.id))
        return data.draw(st.sampled_from(ordered))

    def runtime(self, name: str) -> Runtime | None:
        found: Runtime | None = self.do(self.site.world.store.read(lambda tx: tx.runtimes.get(RuntimeId(name))))
        return found


def _reachable(state: ClaimState) -> set[ClaimState]:
    """In any number of steps: settling takes several at once."""
    found, new = {state}, {state}
    while new:
        new = {after for before in new for after in NEXT[before]} - found
        found |= new
    return found


HISTORIES = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
"""Without shrinking: to make a history shorter takes minutes, and the steps that are printed say enough."""


def test_no_history_gives_one_hold_to_two_or_lets_in_a_stale_fence_and_every_claim_ends() -> None:
    run_state_machine_as_test(Claims, settings=HISTORIES)


def _forgets_fences(runtime: Runtime, _revision: int = 0) -> int:
    return 1 + len(runtime.holds.live)


def _believes_leases(claim: Claim, lease: Any, now: Any, amnesty: timedelta) -> Due:
    return Due(lease.expire_time, lease.serial) if lease else Due(now + claim.order.ttl, 0)


MUTANTS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "fences are counted anew": (claim_holds, "next_fence", _forgets_fences),
    "who is declared again counts anew": (rows, "next_fence", lambda runtime, revision: 1),
    "the system stays beside whoever is alone": (claim_holds, "is_taken_alone", lambda _: False),
    "nobody waits for the node's word": (claim_steps, "_lets_in", lambda held, facts: True),
    "what ends keeps its hold": (claim_changes, "drop", lambda tx, name, claim, now: None),
    "what leases say counts after a start": (claim_dues, "first_due", _believes_leases),
    "every look renews": (claim_dues, "heard", lambda claim, due, lease, now: Due(now + TTL, 0)),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_version_is_caught(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*MUTANTS[mutant])
    quickly = settings(HISTORIES, max_examples=400, phases=[Phase.generate], derandomize=True, database=None)
    with pytest.raises((AssertionError, KeyError)):
        run_state_machine_as_test(Claims, settings=quickly)
