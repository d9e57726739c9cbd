"""A node that knows more of a history than the database does."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from control_plane.domain.admission import Presented
from control_plane.domain.ids import NodeId
from control_plane.use_cases.admit_session import Admission, AdmitSession, Greeting
from control_plane.use_cases.lost_history import HISTORY_CHANGED, JUMP, begin_anew
from control_plane.use_cases.mirror import Changed
from control_plane.use_cases.ports import Transaction
from tests.fakes.clock import NOON
from tests.fakes.control_plane import World, a_node, an_inventory

N1 = NodeId("n1")
GREETING = Greeting("install", "boot", "machine", "0.1.0", 42, an_inventory())


@pytest.fixture
async def world() -> World:
    world = World()
    await world.has(*(a_node(name, certificate_serial="aa", session_epoch=0) for name in ("n1", "n2")))
    return world


@pytest.fixture
def admission(world: World) -> AdmitSession:
    return AdmitSession(world.store, world.clock)


async def admitted(admit: AdmitSession, history: str, revision: int, node: str = "n1") -> Admission:
    presented = Presented(NodeId(node), "aa", NOON + timedelta(hours=1))
    return await admit(presented, replace(GREETING, history_id=history, revision=revision))


def where(tx: Transaction) -> tuple[str, int]:
    return tx.history_id(), tx.revision()


async def test_f29_the_only_node_makes_a_new_history_begin_when_it_is_ahead() -> None:
    world = World()
    await world.has(a_node("n1", certificate_serial="aa", session_epoch=0))
    history, revision = await world.store.read(where)
    assert (await admitted(AdmitSession(world.store, world.clock), history, revision + 5)).history_id != history


async def test_f29_one_of_several_nodes_is_not_believed_alone(world: World, admission: AdmitSession) -> None:
    history, revision = await world.store.read(where)
    for _ in range(3):
        assert (await admitted(admission, history, revision + 5)).history_id == history


async def test_f29_two_nodes_that_are_ahead_make_a_new_history_begin(world: World, admission: AdmitSession) -> None:
    history, revision = await world.store.read(where)
    await admitted(admission, history, revision + 3, "n2")
    revision = (await world.store.read(where))[1]
    found = await admitted(admission, history, revision + 5)
    assert found.history_id != history
    assert found.session_epoch == JUMP + 1
    assert found.revision > revision + JUMP
    (told,) = await world.store.read(lambda tx: tx.journal.newest((HISTORY_CHANGED,), 5))
    assert (told.payload["node"], told.payload["known_revision"]) == ("n1", revision + 5)
    assert (await admitted(admission, history, revision + 9, "n2")).history_id == found.history_id


@pytest.mark.parametrize("ahead", [0, -1, JUMP, 2**64 - 1 - 2])
async def test_a_node_that_is_not_ahead_or_cannot_be_so_far_changes_nothing(
    world: World, admission: AdmitSession, ahead: int
) -> None:
    history, revision = await world.store.read(where)
    assert (await admitted(admission, history, revision + ahead)).history_id == history


async def test_a_node_of_another_history_is_no_witness(world: World, admission: AdmitSession) -> None:
    history, revision = await world.store.read(where)
    for other in ("", "older"):
        assert (await admitted(admission, other, revision + 5)).history_id == history


async def test_a_node_cannot_make_it_begin_anew_again_and_again(world: World, admission: AdmitSession) -> None:
    history, revision = await world.store.read(where)
    await admitted(admission, history, revision + 50, "n2")
    first = await admitted(admission, history, revision + 55)
    assert first.history_id != history
    for node in ("n1", "n2"):
        again = await admitted(admission, first.history_id, first.revision + 100, node)
    assert again.history_id == first.history_id
    restarted = AdmitSession(world.store, world.clock)
    assert (await admitted(restarted, first.history_id, again.revision)).history_id == first.history_id


async def test_f29_those_who_follow_in_memory_look_at_everything_anew(world: World) -> None:
    await world.mirror.look()
    known = await world.store.read(lambda tx: tx.revision())
    await world.store.write(lambda tx: begin_anew(tx, known + 1, NOON))
    told: list[Changed] = []
    world.mirror.on_change(told.append)
    await world.mirror.look()
    assert told[0].nodes == {"n1", "n2"}
    assert world.mirror.nodes[N1].session_epoch == JUMP
