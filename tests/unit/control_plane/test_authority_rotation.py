"""The steps of a rotation: what follows on what, and who is never left out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from control_plane.domain.admission import Presented, activated
from control_plane.domain.authority import (
    Authority,
    AuthorityState,
    AuthorityStep,
    NodeTrust,
    check_prepare,
    digest,
    in_state,
    oldest,
    stepped,
    trusted,
)
from control_plane.domain.errors import CertificateNotActive, InUse, NotFound
from control_plane.domain.ids import AuthorityId, NodeId, OperatorId
from control_plane.domain.node import Node, Standing
from control_plane.domain.operator import Operator
from control_plane.domain.rotation import check_activate, check_revoke, rotation
from control_plane.use_cases.authenticate_operator import AuthenticateOperator
from control_plane.use_cases.grant_operator import GrantOperator
from control_plane.use_cases.ports import IssuedCertificate
from control_plane.use_cases.renew_certificate import RenewCertificate
from control_plane.use_cases.renew_operator import FORMER_KEPT, RenewOperator
from control_plane.use_cases.report_trust import ReportTrust
from control_plane.use_cases.rotate_authority import PrepareAuthority, ReadRotation, StepAuthority
from tests.fakes.clock import NOON
from tests.fakes.control_plane import World, a_node
from wire.credentials import bundle_digest

LIFE = timedelta(hours=24)
ALL = (AuthorityStep.ACTIVATED, AuthorityStep.TAINTED, AuthorityStep.REVOKED)


def an_authority(name: str, state: AuthorityState = AuthorityState.ACTIVE, age: int = 0) -> Authority:
    return Authority(AuthorityId(name), state, name.encode(), b"sealed", NOON + timedelta(hours=age), NOON)


def merged(rows: tuple[Authority, ...], changed: tuple[Authority, ...]) -> tuple[Authority, ...]:
    return tuple({row.id: row for row in (*rows, *changed)}.values())


def a_certified(name: str, *, issuer: str = "", bundle: str = "", standing: Standing = Standing.ADMITTED) -> Node:
    ends = NOON + LIFE
    trust = NodeTrust(issuer, "", bundle)
    node = a_node(name, certificate_serial="1", certificate_expire_time=ends, trust=trust)
    return replace(node, standing=standing)


def test_the_four_steps_put_one_authority_in_the_place_of_another() -> None:
    rows: tuple[Authority, ...] = (an_authority("a"), an_authority("b", AuthorityState.PREPARED, 1))
    seen = []
    for step in ALL:
        rows = merged(rows, stepped(rows, step, NOON))
        seen.append([row.state.value for row in rows])
        assert stepped(rows, step, NOON) == (), "taken again, it does nothing"
    assert seen == [["old", "active"], ["tainted", "active"], ["revoked", "active"]]
    assert (rows[0].sealed_key, rows[1].sealed_key) == (None, b"sealed")


@pytest.mark.parametrize(
    ("states", "step", "remedy"),
    [
        ("active", AuthorityStep.ACTIVATED, "ca prepare"),
        ("active", AuthorityStep.TAINTED, "ca prepare"),
        ("active", AuthorityStep.REVOKED, "ca prepare"),
        ("active prepared", AuthorityStep.TAINTED, "ca activate"),
        ("active prepared", AuthorityStep.REVOKED, "ca activate"),
        ("revoked active prepared", AuthorityStep.REVOKED, "ca activate"),
        ("old active", AuthorityStep.REVOKED, "ca taint"),
    ],
)
def test_a_step_out_of_turn_is_refused_with_the_one_that_is_due(states: str, step: AuthorityStep, remedy: str) -> None:
    rows = [an_authority(f"{n}", AuthorityState(word), n) for n, word in enumerate(states.split())]
    with pytest.raises((InUse, NotFound)) as refused:
        stepped(rows, step, NOON)
    assert remedy in refused.value.remedy


@pytest.mark.parametrize(("state", "remedy"), [("old", "ca taint"), ("tainted", "ca revoke")])
def test_no_other_is_prepared_while_a_rotation_is_under_way(state: str, remedy: str) -> None:
    with pytest.raises(InUse) as refused:
        check_prepare([an_authority("a", AuthorityState(state)), an_authority("b")])
    assert remedy in refused.value.remedy


def test_the_bundle_is_all_that_are_not_revoked_and_the_active_one_leads_it() -> None:
    rows = [
        an_authority("a", AuthorityState.REVOKED),
        an_authority("b", AuthorityState.TAINTED, 1),
        an_authority("c", AuthorityState.ACTIVE, 2),
    ]
    assert [row.id for row in trusted(rows)] == ["c", "b"]
    assert digest(rows) == bundle_digest([b"b", b"c"]) == bundle_digest([b"c", b"b"])
    assert oldest(rows) == "a"
    assert oldest([replace(rows[1], create_time=None), rows[0]]) == "b"


def test_who_holds_what_is_told_by_the_issuer_and_by_age_where_nobody_wrote_it_down() -> None:
    rows = [an_authority("a", AuthorityState.OLD), an_authority("b", AuthorityState.ACTIVE, 1)]
    nodes = [
        a_certified("before"),
        a_certified("after", issuer="b", bundle=digest(rows)),
        a_certified("gone", standing=Standing.REVOKED),
        replace(a_certified("silent"), certificate_expire_time=NOON),
    ]
    operators = [Operator(OperatorId("o"), "o", "", NOON, "7"), Operator(OperatorId("off"), "", "", NOON, "8", True)]
    found = rotation(rows, nodes, operators, NOON)
    assert [(held.authority.id, held.nodes, held.operators) for held in found.held] == [
        ("a", ("before",), ("o",)),
        ("b", ("after",), ()),
    ]
    assert found.unready == ("before",)
    with pytest.raises(InUse, match="1 node would not trust the new authority yet: before"):
        check_activate(found)
    with pytest.raises(InUse, match="1 node and 1 operator have certificates of the authority a: before, o"):
        check_revoke(found.held[0])
    check_revoke(found.of(AuthorityId("b")).__class__(rows[1], (), ()))


def test_a_refusal_names_some_and_counts_the_rest() -> None:
    nodes = [a_certified(f"n{number:02}") for number in range(25)]
    with pytest.raises(InUse, match="25 nodes would not") as refused:
        check_activate(rotation([an_authority("a")], nodes, [], NOON))
    assert "n19 and 5 more" in refused.value.text


@dataclass
class FakeKeys:
    """Makes authorities by number."""

    made: int = 0
    discarded: list[str] = field(default_factory=list)
    refreshed: int = 0

    async def successor(self, *, others_run: bool) -> Authority:
        self.made += 1
        return an_authority(f"next-{self.made}-{others_run}", AuthorityState.PREPARED, self.made)

    def discard(self, row: Authority) -> None:
        self.discarded.append(row.id)

    async def refresh(self) -> None:
        self.refreshed += 1


async def rotating(*nodes: Node) -> tuple[World, FakeKeys, PrepareAuthority, StepAuthority]:
    world, keys = World(), FakeKeys()
    await world.store.write(lambda tx: tx.authorities.put(an_authority("a")))
    await world.has(*nodes)
    read = ReadRotation(world.store, world.mirror, world.clock)
    prepare = PrepareAuthority(world.store, world.clock, keys, read, lambda: True)
    return world, keys, prepare, StepAuthority(world.store, world.clock, keys, read)


async def test_each_step_is_one_change_with_one_event_however_often_it_is_asked_for() -> None:
    world, keys, prepare, step = await rotating()
    for _ in range(2):
        found = await prepare()
        assert [held.authority.state.value for held in found.held] == ["active", "prepared"]
    for each in ALL:
        for _ in range(2):
            await step(each)
    assert await world.topics() == [f"authority.{word}" for word in ("prepared", "activated", "tainted", "revoked")]
    assert (keys.made, keys.discarded) == (1, [])
    assert (await world.events())[1].payload == {"id": "next-1-True", "state": "active"}
    assert keys.refreshed == 8


async def test_nobody_is_left_out_unless_it_is_forced() -> None:
    world, _, prepare, step = await rotating(a_certified("n1"))
    await prepare()
    with pytest.raises(InUse, match="would not trust"):
        await step(AuthorityStep.ACTIVATED)
    rows = await world.store.read(lambda tx: tx.authorities.all())
    await ReportTrust(world.store)(NodeId("n1"), digest(rows))
    await step(AuthorityStep.ACTIVATED)
    await step(AuthorityStep.TAINTED)
    with pytest.raises(InUse, match="have certificates"):
        await step(AuthorityStep.REVOKED)
    found = await step(AuthorityStep.REVOKED, force=True)
    assert [held.authority.state.value for held in found.held] == ["revoked", "active"]
    assert (await ReadRotation(world.store, world.mirror, world.clock)()).unready == ("n1",)


async def test_a_node_that_said_already_whom_it_trusts_costs_no_change() -> None:
    world, *_ = await rotating(a_certified("n1"))
    await ReportTrust(world.store)(NodeId("n1"), "aa")
    revision = await world.revision()
    await ReportTrust(world.store)(NodeId("n1"), "aa")
    await ReportTrust(world.store)(NodeId("stranger"), "aa")
    assert await world.revision() == revision


async def test_with_a_renewed_certificate_in_use_the_node_has_the_bundle_that_came_with_it() -> None:
    """So an agent that knows no bundles becomes ready too, in its own time."""
    world = World()
    await world.has(a_certified("n1", issuer="a", bundle="old"))
    presented = Presented(NodeId("n1"), "1", NOON + LIFE, "a")
    issued = await RenewCertificate(world.store, world.clock, world.authority)(presented, b"csr:one")
    assert (await world.node()).trust == NodeTrust("a", "", "old", "digest")
    used = activated(await world.node(), Presented(NodeId("n1"), issued.serial, issued.expire_time, "b"))
    assert used.trust == NodeTrust("a", "", "digest")


@dataclass
class OperatorSigner:
    number: int = 0

    def issue_operator(self, csr_der: bytes, operator: OperatorId) -> IssuedCertificate:
        self.number += 1
        return IssuedCertificate((csr_der,), f"s{self.number}", NOON + LIFE, operator, "b")


async def test_a_renewed_operator_is_known_by_the_new_certificate_and_for_now_by_those_before() -> None:
    world, local, ends = World(), OperatorId("local"), NOON + LIFE
    await GrantOperator(world.store, world.clock, world.randomness)(local, certificate_serial="s0", issuer="a")
    renew = RenewOperator(world.store, world.clock, OperatorSigner())
    known = AuthenticateOperator(world.store, world.clock)
    for number in range(FORMER_KEPT + 1):
        await renew(local, f"s{number}", ends, b"csr")
    row = await known.by_certificate(local, "s1", ends)
    assert (row.issuer, row.certificate_serial) == ("b", f"s{FORMER_KEPT + 1}")
    with pytest.raises(CertificateNotActive):
        await known.by_certificate(local, "s0", ends)
    with pytest.raises(CertificateNotActive):
        await renew(local, "s0", ends, b"csr")
    await GrantOperator(world.store, world.clock, world.randomness)(local, certificate_serial="anew")
    with pytest.raises(CertificateNotActive):
        await known.by_certificate(local, "s1", ends)


class Rotations(RuleBasedStateMachine):
    """Nodes that hear, or do not, while somebody takes steps in any order; nobody forces anything."""

    names = st.sampled_from(["n1", "n2", "n3"])

    def __init__(self) -> None:
        super().__init__()
        self.rows: tuple[Authority, ...] = (an_authority("0"),)
        trust = NodeTrust("0", "", digest(self.rows))
        self.nodes = {name: replace(a_certified(name), trust=trust) for name in ("n1", "n2", "n3")}
        self.stored = dict.fromkeys(self.nodes, frozenset({"0"}))
        """Whom each node really trusts."""

    @rule()
    def prepare(self) -> None:
        try:
            if check_prepare(self.rows) is None:
                number = len(self.rows)
                self.rows = (*self.rows, an_authority(f"{number}", AuthorityState.PREPARED, number))
        except InUse:
            assert in_state(self.rows, AuthorityState.OLD, AuthorityState.TAINTED)

    @rule(step=st.sampled_from(ALL))
    def step(self, step: AuthorityStep) -> None:
        found = rotation(self.rows, self.nodes.values(), [], NOON)
        try:
            changed = stepped(self.rows, step, NOON)
            if changed and step is AuthorityStep.ACTIVATED:
                check_activate(found)
            if changed and step is AuthorityStep.REVOKED:
                check_revoke(found.of(changed[0].id))
        except (InUse, NotFound):
            return
        self.rows = merged(self.rows, changed)

    @rule(name=names)
    def hears(self, name: str) -> None:
        """As an agent does: it stores what it is told, then says so."""
        self.stored[name] = frozenset(row.id for row in trusted(self.rows))
        node = self.nodes[name]
        self.nodes[name] = replace(node, trust=replace(node.trust, bundle=digest(self.rows)))

    @rule(name=names)
    def renews(self, name: str) -> None:
        active = in_state(self.rows, AuthorityState.ACTIVE)
        assert active
        node = self.nodes[name]
        self.nodes[name] = replace(node, trust=replace(node.trust, issuer=active.id))

    @invariant()
    def everybody_gets_in(self) -> None:
        """Each knows who signs for the control plane, and shows what somebody signed who is trusted."""
        active = in_state(self.rows, AuthorityState.ACTIVE)
        assert active
        accepted = {row.id for row in trusted(self.rows)}
        for name, node in self.nodes.items():
            assert active.id in self.stored[name]
            assert node.trust.issuer in accepted

    @invariant()
    def one_is_active_and_at_most_one_other_is_trusted(self) -> None:
        states = [row.state for row in trusted(self.rows)]
        assert states.count(AuthorityState.ACTIVE) == 1
        assert len(states) <= 2


TestRotations = Rotations.TestCase
TestRotations.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
