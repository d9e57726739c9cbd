"""What is loaded on demand, as the gateway's routes see it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from control_plane.data_path.routes import RouteTable
from control_plane.data_path.waking import Waking
from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.footprint import Footprint, FootprintKey
from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.instance import Instance, InstanceState
from control_plane.domain.problem import Problem
from control_plane.domain.residence import Residence, Sleep, SleepCause
from control_plane.domain.runtime import DesiredState, Runtime
from control_plane.store.memory import MemoryStore
from control_plane.use_cases.mirror import Mirror
from control_plane.use_cases.ports import Transaction
from control_plane.use_cases.wake_runtime import WakeRuntime
from gateway.refusals import Loading, NodeOffline, NoRoom, NotServing
from tests.fakes.clock import NOON, FakeClock
from tests.fakes.fleet import FakeFleet
from tests.fakes.store_rows import a_model, a_node, a_runtime

FULL = Problem("MEMORY_INSUFFICIENT", "Model tiny needs more.", "Stop something there.")
ASLEEP = Sleep(NOON, SleepCause.IDLE)


def on_demand(name: str = "tiny", sleep: Sleep | None = ASLEEP, **changed: Any) -> Runtime:
    row = a_runtime(name)
    spec = replace(row.spec, residence=Residence(on_demand=True))
    state = DesiredState.HIBERNATED if sleep else DesiredState.RUNNING
    return replace(row, **{"node": NodeId("box"), "spec": spec, "desired_state": state, "sleep": sleep, **changed})


def _put(tx: Transaction) -> None:
    tx.nodes.put(a_node("box"))
    tx.models.put(a_model())


class Bench:
    def __init__(self) -> None:
        self.fleet = FakeFleet()
        self.fleet.connect("box")
        self.store, clock = MemoryStore(FakeClock()), FakeClock()
        self.mirror = Mirror(self.store)
        self.waking = Waking(self.mirror, self.fleet, WakeRuntime(self.store, self.fleet, clock))
        self.table = RouteTable(self.mirror, self.fleet, {}, None, self.waking)

    async def has(self, *rows: Runtime) -> None:
        for row in rows:
            await self.store.write(lambda tx, row=row: tx.runtimes.put(row))  # type: ignore[misc]
        await self.store.write(_put)
        await self.mirror.look()

    def stands(self, state: InstanceState, name: str = "tiny", **more: Any) -> None:
        self.fleet.record(Instance(NodeId("box"), RuntimeId(name), state, **more))


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_what_is_asleep_is_to_be_waited_for_and_is_listed(bench: Bench) -> None:
    await bench.has(on_demand())
    with pytest.raises(Loading) as loading:
        bench.table.resolve("tiny")
    assert (loading.value.runtime, loading.value.retry_after) == ("tiny", 5)
    assert [(model.id, model.loaded) for model in bench.table.models()] == [("tiny", False)]


async def test_the_time_to_come_back_is_that_of_the_last_load(bench: Bench) -> None:
    await bench.has(on_demand())
    footprint = Footprint(FootprintKey("a", "b", "c", AcceleratorKind.CPU), 1, timedelta(seconds=41.2))
    bench.stands(InstanceState.HIBERNATED, footprint=footprint)
    with pytest.raises(Loading) as loading:
        bench.table.resolve("tiny")
    assert loading.value.retry_after == 42


@pytest.mark.parametrize(
    "state", [InstanceState.PENDING, InstanceState.STARTING, InstanceState.RESTARTING, InstanceState.STOPPING]
)
async def test_what_starts_is_to_be_waited_for(bench: Bench, state: InstanceState) -> None:
    await bench.has(on_demand(sleep=None))
    bench.stands(state)
    with pytest.raises(Loading):
        bench.table.resolve("tiny")


async def test_what_serves_is_asked_and_may_leave_at_any_time(bench: Bench) -> None:
    await bench.has(on_demand(sleep=None))
    bench.stands(InstanceState.READY)
    assert bench.table.resolve("tiny").on_demand
    assert [model.loaded for model in bench.table.models()] == [True]


async def test_what_serves_by_the_same_name_is_asked_and_nothing_is_woken(bench: Bench) -> None:
    await bench.has(on_demand("asleep"), replace(a_runtime("other"), node=NodeId("box")))
    bench.stands(InstanceState.READY, "other")
    assert {bench.table.resolve(a_runtime("other").spec.model).model_alias for _ in range(3)} == {"other"}


async def test_what_failed_to_wake_is_refused_with_its_reason_for_a_moment(bench: Bench) -> None:
    await bench.has(on_demand(sleep=replace(ASLEEP, problem=FULL, failed=NOON)))
    with pytest.raises(NoRoom, match="Model tiny needs more") as refused:
        bench.table.resolve("tiny")
    assert (refused.value.status, refused.value.reason, refused.value.code) == (503, "MEMORY_INSUFFICIENT", "no_room")
    assert refused.value.retry_after is not None


async def test_what_waits_for_room_says_so_to_those_who_wait_with_it(bench: Bench) -> None:
    await bench.has(on_demand(sleep=replace(ASLEEP, wake=NOON, problem=FULL)))
    with pytest.raises(Loading, match="tiny wakes. Model tiny needs more"):
        bench.table.resolve("tiny")


async def test_what_cannot_come_by_itself_is_not_waited_for(bench: Bench) -> None:
    await bench.has(on_demand(sleep=None))
    bench.stands(InstanceState.ERROR, problem=Problem("ENGINE_EXITED", "It fell over."))
    with pytest.raises(NotServing) as broken:
        bench.table.resolve("tiny")
    assert not isinstance(broken.value, Loading)
    bench.fleet.disconnect("box", NOON)
    with pytest.raises(NodeOffline):
        bench.table.resolve("tiny")


async def test_what_a_person_shut_down_is_neither_listed_nor_waited_for(bench: Bench) -> None:
    await bench.has(on_demand(sleep=None, desired_state=DesiredState.STOPPED))
    with pytest.raises(NotServing, match="is shut down"):
        bench.table.resolve("tiny")
    assert bench.table.models() == []


async def test_asking_is_one_change_however_many_ask(bench: Bench) -> None:
    await bench.has(on_demand())
    before = await bench.store.read(lambda tx: tx.revision())
    for _ in range(50):
        bench.table.wake("tiny")
    await bench.waking.ask()
    await bench.mirror.look()
    for _ in range(50):
        bench.table.wake("tiny")
    await bench.waking.ask()
    assert await bench.store.read(lambda tx: tx.revision()) == before + 1
    row = bench.mirror.runtimes[RuntimeId("tiny")]
    assert row.sleep is not None
    assert row.sleep.wake == NOON
