"""Who is served before whom: nobody starves, and no project takes it all."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.domain.claims.allocation import Plan, allocate
from control_plane.domain.claims.claim import Claim, ClaimState, Held, Requirement, RuntimeClaim
from control_plane.domain.claims.holds import given as given_to
from control_plane.domain.claims.holds import settled, taken
from control_plane.domain.claims.line import Party, Rules, line, party
from control_plane.domain.claims.offers import Offer
from control_plane.domain.ids import ClaimId, NodeId, ProjectId
from control_plane.domain.runtime import Modality, Runtime
from tests.fakes.claims import a_server, an_order
from tests.fakes.clock import NOON
from tests.fakes.control_plane import an_instance

RULES = Rules()
SECOND = timedelta(seconds=1)


def a_waiter(name: str, project: str = "mine", order: RuntimeClaim | None = None, at: int = 0) -> Claim:
    said = order or an_order()
    return Claim(ClaimId(name), ProjectId(project), said, NOON + at * SECOND, ClaimState.QUEUED)


def offered(runtime: Runtime) -> Offer:
    assert runtime.node is not None
    return Offer(runtime, an_instance(runtime.id, runtime.node))


def granted(plan: Plan) -> dict[str, str]:
    return {grant.claim.id: grant.offer.runtime.id for grant in plan.grants}


def names(ordered: Sequence[Claim]) -> list[str]:
    return [claim.id for claim in ordered]


def test_the_more_important_comes_first_until_another_waited_for_long_enough() -> None:
    old, new = a_waiter("old"), a_waiter("new", "theirs", an_order(priority=3), at=40)
    assert names(line([old, new], [], NOON + 29 * SECOND, RULES)) == ["new", "old"]
    assert names(line([old, new], [], NOON + 40 * SECOND, RULES)) == ["old", "new"]


def test_a_project_with_many_claims_does_not_hold_up_one_with_few() -> None:
    many = [a_waiter(f"m{number}", "greedy", at=-number) for number in range(20)]
    one = a_waiter("one", "modest")
    assert names(line([*many, one], [], NOON + SECOND, RULES)).index("one") <= 1


def test_what_a_project_has_of_one_modality_costs_it_nothing_for_another() -> None:
    has = [replace(a_waiter(f"h{number}", "mine"), state=ClaimState.GRANTED) for number in range(5)]
    heard = RuntimeClaim(Requirement("chat", modality=Modality.AUDIO))
    audio, text = a_waiter("audio", "mine", heard, at=1), a_waiter("text", "mine")
    other = a_waiter("other", "theirs", at=2)
    assert names(line([audio, text, other], has, NOON + 5 * SECOND, RULES)) == ["audio", "other", "text"]


@given(st.permutations([a_waiter(f"c{n}", f"p{n % 2}", an_order(exclusive=n % 3 == 0)) for n in range(6)]))
def test_the_order_of_what_is_given_does_not_matter(waiting: list[Claim]) -> None:
    offers = [offered(a_server("chat", "n1")), offered(a_server("other", "n2"))]
    expected = allocate(sorted(waiting, key=lambda claim: claim.id), [], offers, NOON, rules=RULES)
    found = allocate(waiting, [], reversed(offers), NOON, rules=RULES)
    assert (found.grants, found.waits) == (expected.grants, expected.waits)


def test_of_several_that_would_do_the_emptier_is_taken() -> None:
    order = RuntimeClaim(Requirement("tiny"))
    busy, _ = given_to(a_server("a", "n1"), ClaimId("x"), 1, order, None)
    plan = allocate([a_waiter("c", order=order)], [], [offered(busy), offered(a_server("b", "n2"))], NOON, rules=RULES)
    assert granted(plan) == {"c": "b"}


def test_who_wants_one_alone_keeps_others_from_only_one_of_two() -> None:
    order = RuntimeClaim(Requirement("tiny"))
    servers = [given_to(a_server(name, "n1"), ClaimId(f"x{name}"), 1, order, None)[0] for name in "ab"]
    alone = a_waiter("alone", order=replace(order, exclusive=True))
    shared = [a_waiter(f"s{number}", "theirs", order, at=1) for number in range(2)]
    plan = allocate([alone, *shared], [], [offered(server) for server in servers], NOON, rules=RULES)
    assert granted(plan) == {"s0": "b"}
    assert plan.waits[ClaimId("alone")].runtime == "a"


def test_a_fallback_serves_who_waits_only_where_nothing_of_what_was_wanted_serves() -> None:
    down = Offer(a_server("chat", "n1"))
    plan = allocate([a_waiter("c", order=an_order("chat", "spare"))], [], [down], NOON, rules=RULES)
    assert plan.waits[ClaimId("c")].problem.reason == "NOT_READY"
    spare = offered(a_server("spare", "n2"))
    plan = allocate([a_waiter("c", order=an_order("chat", "spare"))], [], [down, spare], NOON, rules=RULES)
    assert [(grant.offer.runtime.id, grant.alternative) for grant in plan.grants] == [("spare", 1)]


@dataclass
class Counterfoil:
    """One instance; everybody who gets it gives it back, and new ones come all the time."""

    runtime: Runtime = field(default_factory=lambda: a_server("chat", "n1"))
    now: datetime = NOON
    waiting: dict[ClaimId, Claim] = field(default_factory=dict)
    holding: dict[ClaimId, Claim] = field(default_factory=dict)
    ends: dict[ClaimId, datetime] = field(default_factory=dict)
    served: Counter[str] = field(default_factory=Counter)
    last: dict[Party, datetime] = field(default_factory=dict)

    def comes(self, claim: Claim) -> None:
        self.waiting[claim.id] = replace(claim, create_time=self.now)

    def goes_on(self, chance: random.Random) -> None:
        self.now += 5 * SECOND
        for gone in [claim for claim, end in self.ends.items() if end <= self.now]:
            self.runtime = settled(taken(self.runtime, gone, 1, self.now), 1, self.now)
            del self.holding[gone], self.ends[gone]
        plan = allocate(
            self.waiting.values(),
            self.holding.values(),
            [offered(self.runtime)],
            self.now,
            rules=RULES,
            leases=self.ends,
            served=self.last,
        )
        for grant in plan.grants:
            self.runtime, hold = given_to(self.runtime, grant.claim.id, 0, grant.claim.order, grant.until)
            self.ends[hold.claim] = self.now + chance.randint(1, 30) * SECOND
            held = Held(self.runtime.id, NodeId("n1"), hold, self.now)
            self.holding[hold.claim] = replace(self.waiting.pop(hold.claim), state=ClaimState.GRANTED, held=held)
            self.served[grant.claim.project] += 1
            self.last[party(grant.claim)] = self.now


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    exclusive=st.booleans(),
    others_alone=st.booleans(),
    priority=st.integers(0, 20),
    lead=st.integers(0, 3),
)
def test_however_many_come_after_it_and_however_important_they_are_each_waiter_has_its_turn(
    seed: int, exclusive: bool, others_alone: bool, priority: int, lead: int
) -> None:
    chance, desk = random.Random(seed), Counterfoil()  # noqa: S311 - not for secrets
    for number in range(lead):
        desk.comes(a_waiter(f"before{number}", "mine"))
    desk.comes(a_waiter("patient", "mine", an_order(exclusive=exclusive)))
    rounds = 0
    while ClaimId("patient") in desk.waiting:
        rounds += 1
        assert rounds < 12 * (priority + 10), "it starves"
        for number in range(2):
            order = an_order(exclusive=others_alone and chance.random() < 0.5, priority=priority)
            desk.comes(a_waiter(f"r{rounds}.{number}", f"p{chance.randint(0, 3)}", order))
        desk.goes_on(chance)


def test_two_projects_that_always_want_more_get_as_much() -> None:
    chance, desk = random.Random(1), Counterfoil()  # noqa: S311 - not for secrets
    for number in range(300):
        desk.comes(a_waiter(f"one{number}", "one"))
        if len([claim for claim in desk.waiting.values() if claim.project == "two"]) < 3:
            desk.comes(a_waiter(f"two{number}", "two"))
        desk.goes_on(chance)
    assert desk.served["two"] > 0.7 * desk.served["one"]
