from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from control_plane.domain.admission import Presented
from control_plane.domain.errors import (
    CertificateExpired,
    CertificateNotActive,
    CertificateRevoked,
    CertificateUnknown,
    EtagMismatch,
    InvalidArgument,
    NodeQuarantined,
    NotFound,
)
from control_plane.domain.ids import NodeId
from control_plane.domain.labels import faults
from control_plane.domain.node import Node, NodeState, Standing
from control_plane.use_cases.admit_session import Admission, AdmitSession, Greeting
from control_plane.use_cases.approve_node import ApproveNode
from control_plane.use_cases.authenticate_node import AuthenticateNode
from control_plane.use_cases.diagnose_credential import DiagnoseCredential
from control_plane.use_cases.ports import Change
from control_plane.use_cases.quarantine_node import QuarantineNode
from control_plane.use_cases.read_nodes import GetNode, ListNodes
from control_plane.use_cases.renew_certificate import RenewCertificate
from control_plane.use_cases.revoke_node import RevokeNode
from control_plane.use_cases.update_node import UpdateNode
from tests.fakes.clock import NOON
from tests.fakes.control_plane import World, a_node, an_inventory
from wire.refusal import Refusal

N1 = NodeId("n1")
END = NOON + timedelta(hours=1)
GREETING = Greeting("install", "boot", "machine", "0.1.0", 42, an_inventory())


def shown(serial: str = "aa", node: str = "n1") -> Presented:
    return Presented(NodeId(node), serial, END)


@pytest.fixture
async def world() -> World:
    world = World()
    await world.has(a_node(certificate_serial="aa", session_epoch=0))
    return world


async def admit(world: World, serial: str = "aa", greeting: Greeting = GREETING) -> Admission:
    return await AdmitSession(world.store, world.clock)(shown(serial), greeting)


REFUSALS: list[tuple[Node, Presented, type[Refusal]]] = [
    (a_node(certificate_serial="aa"), shown(node="other"), CertificateUnknown),
    (a_node(certificate_serial="aa"), shown("bb"), CertificateNotActive),
    (a_node(certificate_serial=""), shown(""), CertificateNotActive),
    (a_node(certificate_serial="aa", standing=Standing.WAITING_FOR_APPROVAL), shown(), CertificateNotActive),
    (a_node(certificate_serial="aa", standing=Standing.REVOKED), shown(), CertificateRevoked),
    (a_node(certificate_serial="aa", standing=Standing.QUARANTINED), shown(), NodeQuarantined),
    (a_node(certificate_serial="aa"), replace(shown(), expire_time=NOON), CertificateExpired),
    (a_node(standing=Standing.REVOKED), replace(shown(), expire_time=NOON), CertificateRevoked),
]


@pytest.mark.parametrize(("node", "presented", "refused"), REFUSALS)
async def test_a_certificate_that_may_not_speak_is_refused_everywhere_alike(
    world: World, node: Node, presented: Presented, refused: type[Refusal]
) -> None:
    await world.has(node)
    with pytest.raises(refused) as caught:
        await AuthenticateNode(world.store, world.clock)(presented)
    assert caught.value.remedy
    with pytest.raises(refused):
        await AdmitSession(world.store, world.clock)(presented, GREETING)
    with pytest.raises(refused):
        await RenewCertificate(world.store, world.clock, world.authority)(presented, b"csr:one")
    problem = await DiagnoseCredential(world.store, world.clock)(presented)
    assert problem
    assert problem.reason == refused.reason
    assert await world.topics() == []


async def test_a_good_certificate_has_no_diagnosis(world: World) -> None:
    assert await DiagnoseCredential(world.store, world.clock)(shown()) is None
    assert (await AuthenticateNode(world.store, world.clock)(shown())).id == "n1"


async def test_a_session_gets_the_next_epoch_and_keeps_what_hello_said(world: World) -> None:
    first, second = await admit(world), await admit(world)
    assert (first.session_epoch, second.session_epoch) == (1, 2)
    node = await world.node()
    assert second.node == node
    assert node.session_epoch == 2
    assert (node.installation_id, node.boot_id, node.agent_version, node.agent_pid) == ("install", "boot", "0.1.0", 42)
    assert node.inventory == an_inventory()
    assert node.last_contact_time == NOON
    assert second.history_id
    assert second.revision == await world.revision()


async def test_a_node_is_advertised_when_something_about_it_is_new(world: World) -> None:
    await admit(world)
    await admit(world, greeting=replace(GREETING, agent_pid=43))
    assert await world.topics() == ["cluster.node.advertise"]
    await admit(world, greeting=replace(GREETING, inventory=an_inventory(engines=())))
    first, second = await world.events("cluster.node.advertise")
    assert first.payload["engines"] == [{"adapter": "llama.cpp", "version": "b11549", "image": ""}]
    assert second.payload["engines"] == []


async def test_a_session_is_a_change_of_its_node_alone(world: World) -> None:
    before = await world.revision()
    await admit(world)
    changes = await world.store.read(lambda tx: tx.changes(before))
    assert changes == [Change(before + 1, "nodes", "n1")]


async def test_a_renewed_certificate_counts_from_its_first_use_on(world: World) -> None:
    renew = RenewCertificate(world.store, world.clock, world.authority)
    issued = await renew(shown(), b"csr:new")
    assert (await world.node()).pending_serial == issued.serial
    await admit(world)
    await admit(world, issued.serial)
    node = await world.node()
    assert (node.certificate_serial, node.pending_serial) == (issued.serial, "")
    assert node.certificate_expire_time == END
    with pytest.raises(CertificateNotActive):
        await admit(world)


async def test_a_lost_answer_to_a_renewal_locks_nobody_out(world: World) -> None:
    renew = RenewCertificate(world.store, world.clock, world.authority)
    lost = await renew(shown(), b"csr:new")
    issued = await renew(shown(), b"csr:new")
    await admit(world)
    with pytest.raises(CertificateNotActive):
        await admit(world, lost.serial)
    await admit(world, issued.serial)


async def test_a_renewal_with_a_renewed_certificate_makes_it_the_current_one(world: World) -> None:
    renew = RenewCertificate(world.store, world.clock, world.authority)
    first = await renew(shown(), b"csr:new")
    second = await renew(shown(first.serial), b"csr:newer")
    node = await world.node()
    assert (node.certificate_serial, node.pending_serial) == (first.serial, second.serial)


async def test_a_bad_request_renews_nothing(world: World) -> None:
    with pytest.raises(InvalidArgument):
        await RenewCertificate(world.store, world.clock, world.authority)(shown(), b"nonsense")
    assert (await world.node()).pending_serial == ""


async def test_a_revoked_node_is_told_so_and_is_never_approved(world: World) -> None:
    view = await RevokeNode(world.store, world.fleet, world.clock)(N1)
    assert view.state is NodeState.REVOKED
    with pytest.raises(CertificateRevoked):
        await admit(world)
    with pytest.raises(CertificateRevoked):
        await ApproveNode(world.store, world.fleet, world.clock)(N1)
    (event,) = await world.events()
    assert (event.kind, event.payload["state"], event.payload["cause"]) == (
        "cluster.node.changed",
        "revoked",
        "revoked",
    )


async def test_a_quarantined_node_is_let_in_again_by_approval(world: World) -> None:
    await QuarantineNode(world.store, world.fleet, world.clock)(N1, "two machines")
    with pytest.raises(NodeQuarantined):
        await admit(world)
    (event,) = await world.events()
    assert (event.payload["state"], event.payload["severity"], event.payload["cause"]) == (
        "quarantined",
        "error",
        "two machines",
    )
    await ApproveNode(world.store, world.fleet, world.clock)(N1)
    assert (await admit(world)).session_epoch == 1


async def test_quarantine_never_softens_a_revocation(world: World) -> None:
    await RevokeNode(world.store, world.fleet, world.clock)(N1)
    await QuarantineNode(world.store, world.fleet, world.clock)(N1, "late")
    assert (await world.node()).standing is Standing.REVOKED


async def test_labels_and_openness_change_apart_and_once(world: World) -> None:
    update = UpdateNode(world.store, world.fleet, world.clock)
    labelled = await update(N1, labels={"site": "a"})
    closed = await update(N1, schedulable=False, etag=labelled.node.etag)
    assert (closed.node.labels, closed.node.schedulable) == ({"site": "a"}, False)
    revision = await world.revision()
    assert (await update(N1, labels={"site": "a"}, schedulable=False)).node == closed.node
    assert await world.revision() == revision
    with pytest.raises(EtagMismatch):
        await update(N1, schedulable=True, etag=labelled.node.etag)


async def test_bad_labels_are_refused_with_the_rule(world: World) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await UpdateNode(world.store, world.fleet, world.clock)(N1, labels={"": "x", "ok": "-"})
    assert "''" in caught.value.text
    assert "'ok'" in caught.value.text
    assert "64" in caught.value.remedy


@pytest.mark.parametrize(
    "labels",
    [{"a" * 65: ""}, {"A": ""}, {"a-": ""}, {"a": "b" * 65}, {"a": "b c"}, {str(number): "" for number in range(65)}],
)
def test_labels_have_bounds(labels: dict[str, str]) -> None:
    assert faults(labels)
    assert not faults({"a" * 64: "B" * 64, "x.y/z": "", "0": "1"})


async def test_what_does_not_exist_is_not_found(world: World) -> None:
    nobody = NodeId("nobody")
    for call in (
        GetNode(world.store, world.fleet),
        ApproveNode(world.store, world.fleet, world.clock),
        RevokeNode(world.store, world.fleet, world.clock),
        UpdateNode(world.store, world.fleet, world.clock),
    ):
        with pytest.raises(NotFound):
            await call(nobody)


async def test_a_node_is_enrolled_then_online_then_offline(world: World) -> None:
    get = GetNode(world.store, world.fleet)
    assert (await get(N1)).state is NodeState.ENROLLED
    await admit(world)
    world.fleet.connect("n1", NOON)
    assert (await get(N1)).state is NodeState.ONLINE
    world.fleet.disconnect("n1", NOON)
    view = await get(N1)
    assert (view.state, view.summary) == (NodeState.OFFLINE, "No contact since 2026-11-20T12:00:00Z")
    assert (view.severity(NOON), view.severity(NOON + timedelta(seconds=61))) == ("warn", "error")


async def test_nodes_come_in_pages(world: World) -> None:
    await world.has(*(a_node(f"m{number}") for number in range(3)))
    page = await ListNodes(world.store, world.fleet)(3)
    rest = await ListNodes(world.store, world.fleet)(3, page.next_token)
    assert [view.node.id for view in (*page.items, *rest.items)] == ["m0", "m1", "m2", "n1"]
