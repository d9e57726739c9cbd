from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TypeVar

import pytest

from control_plane.domain.errors import EtagMismatch, NotFound, PageTokenInvalid, RestartBudgetExhausted
from control_plane.domain.ids import NodeId, RuntimeId, instance_name
from control_plane.domain.instance import Instance, InstanceState
from control_plane.domain.runtime import DesiredState, RestoreOrder
from control_plane.use_cases.boot_runtimes import BootRuntimes
from control_plane.use_cases.delete_runtime import DeleteRuntime
from control_plane.use_cases.explain_runtime import ExplainRuntime
from control_plane.use_cases.read_runtimes import GetRuntime, ListRuntimes
from control_plane.use_cases.restore_runtime import RestoreRuntime
from control_plane.use_cases.shutdown_runtime import ShutdownRuntime
from tests.fakes.clock import NOON
from tests.fakes.control_plane import World, a_budget, a_model, a_node, a_runtime, a_spec, an_instance

T = TypeVar("T")

CHAT = RuntimeId("chat")
N1 = NodeId("n1")


@pytest.fixture
async def world() -> World:
    world = World()
    await world.has(a_model(), a_node("n1"), a_node("n2"), a_runtime(node="n1", desired_state=DesiredState.STOPPED))
    world.fleet.connect("n1")
    world.fleet.connect("n2")
    return world


def restore(world: World) -> RestoreRuntime:
    return RestoreRuntime(world.store, world.fleet, world.clock)


async def test_a_restore_starts_a_stopped_runtime_on_its_node(world: World) -> None:
    view = await restore(world)(CHAT, restart=True)
    assert view.runtime.desired_state is DesiredState.RUNNING
    assert view.runtime.restore == RestoreOrder(1, restart=True, reset_budget=False)
    assert await world.desired() == ["nodes/n1/instances/chat"]
    (event,) = await world.events("runtime.restore")
    assert event.kind == "runtime.restore.requested"
    assert event.subject == "runtimes/chat"
    assert event.payload == {
        "runtime": "chat",
        "restart": True,
        "reset_budget": False,
        "preset": "",
        "cause": "operator",
    }


async def test_each_restore_has_a_higher_serial(world: World) -> None:
    await restore(world)(CHAT)
    view = await restore(world)(CHAT, reset_budget=True)
    assert view.runtime.restore == RestoreOrder(2, restart=False, reset_budget=True)


async def test_a_restore_of_what_serves_already_is_complete_at_once(world: World) -> None:
    world.fleet.record(an_instance())
    await restore(world)(CHAT)
    completed = await world.events("runtime.restore.completed")
    assert [event.payload for event in completed] == [{"runtime": "chat", "node": "n1", "ok": True}]
    await restore(world)(CHAT, restart=True)
    assert len(await world.events("runtime.restore.completed")) == 1


async def test_a_restore_on_an_exhausted_budget_is_refused_with_the_way_out(world: World) -> None:
    world.fleet.record(an_instance(state=InstanceState.ERROR, restart_budget=a_budget(3)))
    with pytest.raises(RestartBudgetExhausted) as caught:
        await restore(world)(CHAT)
    assert caught.value.metadata == {
        "runtime": "chat",
        "used": "3",
        "max_restarts": "3",
        "reset_at": "2026-11-20T12:10:00Z",
    }
    assert "budget reset" in caught.value.remedy
    assert (await world.runtime()).desired_state is DesiredState.STOPPED
    assert await world.topics() == []


@pytest.mark.parametrize(
    "instance",
    [
        an_instance(state=InstanceState.ERROR, restart_budget=a_budget(2)),
        an_instance(state=InstanceState.ERROR, restart_budget=a_budget(0, most=0)),
        an_instance(state=InstanceState.OFFLINE, restart_budget=a_budget(3)),
        an_instance(state=InstanceState.ERROR),
        an_instance(state=InstanceState.ERROR, restart_budget=a_budget(3, reset_at=NOON)),
    ],
)
async def test_a_restore_with_room_in_the_budget_is_not_refused(world: World, instance: Instance) -> None:
    world.fleet.record(instance)
    assert (await restore(world)(CHAT)).runtime.restore.serial == 1


async def test_a_restore_that_resets_the_budget_is_never_refused(world: World) -> None:
    world.fleet.record(an_instance(state=InstanceState.ERROR, restart_budget=a_budget(3)))
    assert (await restore(world)(CHAT, reset_budget=True)).runtime.restore.reset_budget


async def test_a_repeated_restore_is_one_restore(world: World) -> None:
    request_id = str(uuid.uuid4())
    for _ in range(2):
        assert (await restore(world)(CHAT, request_id=request_id)).runtime.restore.serial == 1


async def test_a_shutdown_stops_it_once(world: World) -> None:
    await restore(world)(CHAT)
    shutdown = ShutdownRuntime(world.store, world.fleet, world.clock)
    assert (await shutdown(CHAT)).runtime.desired_state is DesiredState.STOPPED
    revision = await world.revision()
    await shutdown(CHAT, request_id=str(uuid.uuid4()))
    assert await world.revision() == revision
    assert (await world.topics()).count("runtime.shutdown.requested") == 1


async def test_what_does_not_exist_is_not_found(world: World) -> None:
    nobody = RuntimeId("nobody")
    for call in (
        restore(world),
        ShutdownRuntime(world.store, world.fleet, world.clock),
        DeleteRuntime(world.store, world.clock),
        GetRuntime(world.store, world.fleet),
        ExplainRuntime(world.store, world.fleet, world.circumstances),
    ):
        with pytest.raises(NotFound) as caught:
            await call(nobody)
        assert caught.value.metadata == {"runtime": "nobody"}
    assert await world.store.read(lambda tx: tx.runtimes.get(nobody)) is None


async def test_a_deleted_runtime_leaves_a_tombstone_on_its_node(world: World) -> None:
    await restore(world)(CHAT)
    before = await world.revision()
    await DeleteRuntime(world.store, world.clock)(CHAT)
    rows = await world.store.read(lambda tx: tx.desired.since(N1, before))
    assert [(row.name, row.content) for row in rows] == [(instance_name(N1, CHAT), None)]
    assert (await world.topics())[-1] == "runtime.deleted"


async def test_a_delete_with_an_old_etag_is_refused(world: World) -> None:
    etag = (await restore(world)(CHAT)).runtime.etag
    await restore(world)(CHAT)
    delete = DeleteRuntime(world.store, world.clock)
    with pytest.raises(EtagMismatch):
        await delete(CHAT, etag=etag)
    await delete(CHAT, etag=(await world.runtime()).etag)


async def test_a_repeated_delete_is_answered_and_not_refused(world: World) -> None:
    request_id = str(uuid.uuid4())
    delete = DeleteRuntime(world.store, world.clock)
    await delete(CHAT, request_id=request_id)
    await delete(CHAT, request_id=request_id)
    with pytest.raises(NotFound):
        await delete(CHAT)


async def test_lists_come_in_pages_in_id_order(world: World) -> None:
    await world.has(*(a_runtime(f"r{number}") for number in range(3)))
    listing = ListRuntimes(world.store, world.fleet)
    first = await listing(2)
    second = await listing(2, first.next_token)
    assert [view.runtime.id for view in (*first.items, *second.items)] == ["chat", "r0", "r1", "r2"]
    assert second.next_token == ""
    assert [view.runtime.id for view in (await listing()).items] == ["chat", "r0", "r1", "r2"]


@pytest.mark.parametrize("token", ["%", "bm9kZXM6bjE", "ÿ", "A"])
async def test_a_page_token_of_another_list_is_refused(world: World, token: str) -> None:
    with pytest.raises(PageTokenInvalid):
        await ListRuntimes(world.store, world.fleet)(1, token)


async def test_a_boot_starts_what_has_auto_start_and_nothing_else(world: World) -> None:
    stopped = {"desired_state": DesiredState.STOPPED}
    await world.has(a_runtime("auto", "n2", a_spec(auto_start=True), **stopped))
    assert await BootRuntimes(world.store, world.clock)() == 1
    assert (await world.runtime("auto")).desired_state is DesiredState.RUNNING
    assert (await world.runtime()).desired_state is DesiredState.STOPPED
    assert await world.desired("n2") == ["nodes/n2/instances/auto"]
    assert await BootRuntimes(world.store, world.clock)() == 0


async def test_an_explanation_judges_every_node(world: World) -> None:
    await world.has(replace(await world.node("n2"), schedulable=False))
    explained = await ExplainRuntime(world.store, world.fleet, world.circumstances)(CHAT)
    assert explained.view.runtime.node == "n1"
    assert [(verdict.node, verdict.chosen, len(verdict.problems)) for verdict in explained.verdicts] == [
        ("n1", True, 0),
        ("n2", False, 1),
    ]


async def test_a_view_joins_what_is_wanted_with_what_was_reported(world: World) -> None:
    world.fleet.record(an_instance(state=InstanceState.ERROR))
    view = await GetRuntime(world.store, world.fleet)(CHAT)
    assert (view.state, view.severity) == (InstanceState.ERROR, "error")
    world.fleet.disconnect("n1")
    assert (await GetRuntime(world.store, world.fleet)(CHAT)).state is InstanceState.UNKNOWN
