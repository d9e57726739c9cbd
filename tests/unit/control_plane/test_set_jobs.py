"""Jobs on a runtime with replicas: what is ordered of the head is ordered of all, and waited for at all."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.ids import RuntimeId
from control_plane.domain.instance import InstanceState
from control_plane.domain.jobs.job import JobKind, JobState
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import DesiredState, Runtime
from control_plane.domain.runtime_set import following, replica_ids
from control_plane.use_cases.scale_runtime import ScaleRuntime
from control_plane.use_cases.shutdown_runtime import ShutdownRuntime
from tests.fakes.clock import NOON
from tests.fakes.control_plane import World, a_budget, a_model, a_node, a_runtime, a_spec, an_instance, an_inventory
from tests.fakes.jobs import CHAT, LIMIT, Workshop, a_swap, an_order

READY, STARTING, ERROR = InstanceState.READY, InstanceState.STARTING, InstanceState.ERROR
BROKEN = Problem("MODEL_FILE_INVALID", "The file is no model.", "Use another file.")
NAMES = ("chat", "chat.2", "chat.3")
PLACES = dict(zip(NAMES, ("n1", "n2", None), strict=True))


@pytest.fixture
async def shop(world: World) -> Workshop:
    return await a_shop(world)


async def a_shop(world: World) -> Workshop:
    """`chat` and `chat.2` serve; `chat.3` has no place."""
    head = a_runtime("chat", "n1", a_spec(replicas=3))
    rows = [following(head, None, replica, NOON, heed=False) for replica in replica_ids(CHAT, 3)]
    rows = [a_runtime(row.id, PLACES[row.id], row.spec, replica_of=CHAT) for row in rows]
    await world.has(a_model(), a_model("other", sha256="cd" * 32), a_node("n1"), a_node("n2"), head, *rows)
    for node in ("n1", "n2"):
        world.fleet.connect(node, NOON)
    made = Workshop(world)
    for name in NAMES[:2]:
        says(made, name, READY, 1)
    return made


def says(shop: Workshop, name: str, state: InstanceState, generation: int, incarnation: int = 1, **more: Any) -> None:
    told = {"observed_generation": generation, "incarnation": incarnation, "update_time": shop.world.clock.now()}
    shop.world.fleet.record(an_instance(name, PLACES[name] or "", state, **{**told, **more}))


async def models(shop: Workshop) -> set[str]:
    return {(await shop.world.runtime(name)).spec.model for name in NAMES}


async def wanted(shop: Workshop) -> list[DesiredState]:
    return [(await shop.world.runtime(name)).desired_state for name in NAMES]


async def test_a_swap_is_over_when_all_that_have_a_place_serve_the_new_model(shop: Workshop) -> None:
    before = await shop.world.revision()
    job = await shop.create(a_swap())
    assert await shop.world.revision() == before + 1
    assert await models(shop) == {"other"}
    says(shop, "chat", READY, 2, 2)
    job = await shop.settled(job)
    assert (job.state, job.summary) == (JobState.RUNNING, "chat.2: Ready - state set to Ready")
    says(shop, "chat.2", STARTING, 2, 2)
    assert (await shop.settled(job)).progress_percent == 50
    says(shop, "chat.2", READY, 2, 2)
    assert (await shop.settled(job)).state is JobState.SUCCEEDED


async def test_a_model_that_fails_at_one_replica_is_taken_back_at_all(shop: Workshop) -> None:
    job = await shop.create(a_swap())
    says(shop, "chat", READY, 2, 2)
    says(shop, "chat.2", ERROR, 2, 2, problem=BROKEN)
    job = await shop.settled(job)
    assert (job.state, job.problem) == (JobState.RUNNING, BROKEN)
    assert await models(shop) == {"tiny"}
    rows = [await shop.world.runtime(name) for name in NAMES]
    assert {row.generation for row in rows} == {3}
    assert all(row.restore.reset_budget for row in rows), "no budget is charged for the new model"
    says(shop, "chat", READY, 3, 3)
    shop = shop.restarted()
    job = await shop.settled(job)
    assert job.state is JobState.RUNNING
    says(shop, "chat.2", READY, 3, 3)
    job = await shop.settled(job)
    assert (job.state, job.rolled_back, job.problem) == (JobState.FAILED, True, BROKEN)


async def test_a_replica_that_is_not_ready_in_time_takes_the_swap_back(shop: Workshop) -> None:
    job = await shop.create(a_swap())
    says(shop, "chat", READY, 2, 2)
    says(shop, "chat.2", STARTING, 2, 2)
    shop.world.clock.advance(LIMIT)
    job = await shop.settled(job)
    assert job.problem is not None
    assert job.problem.metadata["runtime"] == "chat.2"
    assert await models(shop) == {"tiny"}


async def test_a_swap_that_one_node_cannot_take_is_not_begun(shop: Workshop) -> None:
    await shop.world.has(a_node("n2", inventory=an_inventory(engines=())))
    job = await shop.create(a_swap())
    assert job.problem is not None
    assert (job.state, job.problem.reason) == (JobState.FAILED, "ENGINE_NOT_FOUND")
    assert await models(shop) == {"tiny"}


async def test_a_cancelled_swap_is_taken_back_at_all(shop: Workshop) -> None:
    job = await shop.create(a_swap())
    await shop.cancel(job)
    await shop.settled(job)
    assert await models(shop) == {"tiny"}
    for name in NAMES[:2]:
        says(shop, name, READY, 3, 3)
    assert (await shop.settled(job)).state is JobState.CANCELLED


async def test_a_replica_alone_gets_no_model_of_its_own(shop: Workshop) -> None:
    job = await shop.create(a_swap(runtime=RuntimeId("chat.2")))
    assert job.problem is not None
    assert (job.state, job.problem.remedy) == (JobState.FAILED, "Swap that of chat.")
    assert await models(shop) == {"tiny"}


async def test_scaling_in_the_middle_of_a_swap_ends_it_as_it_stands(shop: Workshop) -> None:
    job = await shop.create(a_swap())
    world = shop.world
    await ScaleRuntime(world.store, world.fleet, world.clock)(CHAT, 2)
    assert (await shop.settled(job)).state is JobState.ABORTED
    assert (await world.runtime("chat.2")).spec.model == "other"


@pytest.mark.parametrize("kind", [JobKind.RESTORE, JobKind.ENSURE_READY])
async def test_a_replica_that_was_stopped_is_started_and_waited_for(shop: Workshop, kind: JobKind) -> None:
    world = shop.world
    await ShutdownRuntime(world.store, world.fleet, world.clock)(RuntimeId("chat.2"))
    says(shop, "chat.2", InstanceState.OFFLINE, 1)
    job = await shop.create(an_order(kind))
    assert set(await wanted(shop)) == {DesiredState.RUNNING}
    assert (await shop.settled(job)).state is JobState.RUNNING
    says(shop, "chat.2", READY, 1, 2)
    world.clock.advance(LIMIT / 2)
    await shop.settled(job)
    world.clock.advance(LIMIT / 4)
    assert (await shop.settled(job)).state is JobState.SUCCEEDED


@pytest.mark.parametrize("kind", [JobKind.RESTORE, JobKind.ENSURE_READY])
async def test_where_all_that_have_a_place_serve_there_is_nothing_to_wait_for(shop: Workshop, kind: JobKind) -> None:
    assert (await shop.create(an_order(kind))).state is JobState.SUCCEEDED


async def test_an_exhausted_budget_of_one_fails_the_restore_of_all(shop: Workshop) -> None:
    says(shop, "chat.2", ERROR, 1, restart_budget=a_budget(3))
    job = await shop.create(an_order(JobKind.RESTORE))
    assert job.problem is not None
    assert (job.state, job.problem.reason) == (JobState.FAILED, "RESTART_BUDGET_EXHAUSTED")
    assert job.problem.metadata["runtime"] == "chat.2"


async def test_a_shutdown_is_over_when_none_runs_any_more(shop: Workshop) -> None:
    job = await shop.create(an_order(JobKind.SHUTDOWN))
    assert set(await wanted(shop)) == {DesiredState.STOPPED}
    says(shop, "chat", InstanceState.OFFLINE, 1)
    assert (await shop.settled(job)).state is JobState.RUNNING
    says(shop, "chat.2", InstanceState.OFFLINE, 1)
    assert (await shop.settled(job)).state is JobState.SUCCEEDED


async def test_a_job_on_one_replica_is_about_that_one(shop: Workshop) -> None:
    job = await shop.create(an_order(JobKind.SHUTDOWN, runtime=RuntimeId("chat.2")))
    assert await wanted(shop) == [DesiredState.RUNNING, DesiredState.STOPPED, DesiredState.RUNNING]
    says(shop, "chat.2", InstanceState.OFFLINE, 1)
    assert (await shop.settled(job)).state is JobState.SUCCEEDED


MOVES = st.lists(
    st.tuples(
        st.sampled_from(NAMES[:2]),
        st.sampled_from([READY, READY, STARTING, ERROR, InstanceState.OFFLINE]),
        st.integers(0, 1),
        st.integers(0, 1),
        st.sampled_from([0, 6, 400]),
        st.booleans(),
    ),
    max_size=12,
)


def serves_as_declared(shop: Workshop, row: Runtime) -> bool:
    told = shop.world.fleet.instance(row.node, row.id) if row.node else None
    return told is not None and told.state.serves and told.observed_generation >= row.generation


@given(MOVES)
async def test_a_swap_never_succeeds_while_a_replica_does_not_serve_and_leaves_all_alike(moves: list[Any]) -> None:
    shop = await a_shop(World())
    job, launches = await shop.create(a_swap()), dict.fromkeys(NAMES, 1)
    for name, state, behind, launched, seconds, killed in [*moves, *[(NAMES[0], READY, 0, 0, 3600, False)] * 2]:
        before = await shop.job(job)
        launches[name] += launched
        problem = BROKEN if state is ERROR else None
        says(shop, name, state, (await shop.world.runtime(name)).generation - behind, launches[name], problem=problem)
        shop = shop.restarted() if killed else shop
        job = await shop.settled(job)
        rows = [await shop.world.runtime(each) for each in NAMES]
        assert len({(row.spec.model, row.generation) for row in rows}) == 1
        if job.state is JobState.SUCCEEDED and not before.state.over:
            assert all(serves_as_declared(shop, row) for row in rows if row.node)
        if job.rolled_back is not None:
            assert rows[0].spec.model == "tiny"
        shop.world.clock.advance(timedelta(seconds=seconds))
    assert (await shop.settled(job)).state.over
