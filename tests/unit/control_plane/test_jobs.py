"""Work on runtimes that takes its time: ordered once, carried on by whoever comes after, ended with a reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from control_plane.domain.errors import InUse, InvalidArgument, ManifestInvalid, NotFound, RateLimited, RequestIdReused
from control_plane.domain.ids import JobId, ModelId, RuntimeId
from control_plane.domain.instance import InstanceHealth, InstanceState, Severity
from control_plane.domain.jobs.job import Job, JobKind, JobOrder, JobState
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import DesiredState, EngineSettings
from control_plane.use_cases.ask_probes import ANSWER_WITHIN
from control_plane.use_cases.delete_model import DeleteModel
from control_plane.use_cases.delete_runtime import DeleteRuntime
from control_plane.use_cases.jobs import create_job
from control_plane.use_cases.jobs.prune_jobs import RETENTION, PruneJobs
from control_plane.use_cases.jobs.read_jobs import GetJob, GetJobs, ListJobs, WatchJob
from control_plane.use_cases.ports import Transaction
from control_plane.use_cases.restore_runtime import RestoreRuntime
from control_plane.use_cases.shutdown_runtime import ShutdownRuntime
from tests.fakes.clock import NOON
from tests.fakes.control_plane import a_budget, a_model, a_runtime, a_spec
from tests.fakes.jobs import CHAT, NODE, Workshop, a_swap, an_order

READY, STARTING, ERROR, OFFLINE = (
    InstanceState.READY,
    InstanceState.STARTING,
    InstanceState.ERROR,
    InstanceState.OFFLINE,
)
BROKEN = Problem("MODEL_FILE_INVALID", "The file is no model.", "Use another file.")
RESTORE, ENSURE, SHUTDOWN, PROBE = (
    an_order(kind) for kind in (JobKind.RESTORE, JobKind.ENSURE_READY, JobKind.SHUTDOWN, JobKind.HEALTH_PROBE)
)
KEY = JobId("job-1")


async def stopped(shop: Workshop) -> None:
    await ShutdownRuntime(shop.world.store, shop.world.fleet, shop.world.clock)(CHAT)
    shop.says(OFFLINE, generation=1)


async def test_the_same_id_with_the_same_order_is_the_same_job(shop: Workshop) -> None:
    first = await shop.create(a_swap(), KEY, "local")
    again = await shop.create(a_swap(), KEY, "local")
    assert (again.id, again.create_time) == (first.id, first.create_time)
    assert (await shop.world.runtime()).generation == 2
    assert len(await shop.world.events("orchestrator.job.created")) == 1


async def test_an_id_that_stands_for_another_order_is_refused(shop: Workshop) -> None:
    await shop.create(ENSURE, KEY)
    with pytest.raises(RequestIdReused) as caught:
        await shop.create(PROBE, KEY)
    assert caught.value.metadata == {"job": KEY}
    assert "runtime.ensure_ready of chat" in caught.value.text


async def test_without_an_id_each_order_is_a_job_of_its_own(shop: Workshop) -> None:
    assert (await shop.create(ENSURE)).id != (await shop.create(ENSURE)).id


async def test_an_order_for_what_does_not_exist_is_refused_and_leaves_no_job(shop: Workshop) -> None:
    nobody = RuntimeId("nobody")
    for order in (replace(ENSURE, runtime=nobody), a_swap("missing"), a_swap(runtime=nobody)):
        with pytest.raises(NotFound):
            await shop.create(order)
    assert (await ListJobs(shop.world.store)()).items == ()


@pytest.mark.parametrize("limit", [timedelta(), timedelta(seconds=-1), timedelta(hours=24, seconds=1)])
async def test_a_time_limit_that_is_none_is_refused(shop: Workshop, limit: timedelta) -> None:
    with pytest.raises(InvalidArgument, match="time limit"):
        await shop.create(replace(ENSURE, time_limit=limit))


async def test_a_runtime_that_serves_is_ready_at_once_and_left_alone(shop: Workshop) -> None:
    before = await shop.world.runtime()
    job = await shop.create(ENSURE)
    assert (job.state, job.progress_percent) == (JobState.SUCCEEDED, 100)
    assert await shop.world.runtime() == before
    assert await shop.world.topics() == ["orchestrator.job.created", "orchestrator.job.completed"]


async def test_a_stopped_runtime_is_started_and_waited_for(shop: Workshop) -> None:
    await stopped(shop)
    job = await shop.create(ENSURE)
    assert job.state is JobState.RUNNING
    assert (await shop.world.runtime()).desired_state is DesiredState.RUNNING
    shop.says(STARTING, generation=1, incarnation=2, summary="Loading the model")
    job = await shop.settled(job)
    assert (job.state, job.progress_percent, job.summary) == (JobState.RUNNING, 50, "Starting - Loading the model")
    shop.says(READY, generation=1, incarnation=2)
    assert (await shop.settled(job)).state is JobState.SUCCEEDED
    told = [event.payload for event in await shop.world.events("orchestrator.job.")]
    assert [row["progress"] for row in told] == [0, 0.05, 0.5, 1]
    assert {row["runtime"] for row in told} == {"chat"}
    (asked,) = await shop.world.events("runtime.restore.requested")
    assert asked.payload["job_id"] == job.id


async def test_an_error_from_before_the_order_is_no_answer_to_it(shop: Workshop) -> None:
    shop.says(ERROR, generation=1, problem=BROKEN)
    job = await shop.create(ENSURE)
    assert (await shop.settled(job)).state is JobState.RUNNING
    shop.says(ERROR, generation=1, incarnation=2, problem=BROKEN)
    job = await shop.settled(job)
    assert (job.state, job.problem) == (JobState.FAILED, BROKEN)


async def test_an_error_that_stays_counts_after_a_while(shop: Workshop) -> None:
    shop.says(ERROR, generation=1, problem=BROKEN)
    job = await shop.create(ENSURE)
    assert (await shop.settled(job)).problem is None
    shop.world.clock.advance(timedelta(seconds=5))
    assert (await shop.settled(job)).problem == BROKEN


async def test_what_has_no_restarts_left_is_not_started_and_the_job_says_so(shop: Workshop) -> None:
    shop.says(ERROR, generation=1, restart_budget=a_budget(3))
    for order in (ENSURE, RESTORE):
        job = await shop.create(order)
        assert job.state is JobState.FAILED
        assert job.problem is not None
        assert job.problem.reason == "RESTART_BUDGET_EXHAUSTED"
    assert (await shop.world.runtime()).restore.serial == 0
    job = await shop.create(replace(RESTORE, reset_budget=True))
    assert job.state is JobState.RUNNING
    assert (await shop.world.runtime()).restore.reset_budget


@pytest.mark.parametrize(
    ("placed", "online", "reason"),
    [
        ({"node": None, "placement_problem": Problem("NO_NODE", "No machine has joined yet.")}, True, "NO_NODE"),
        ({"node": "n1"}, False, "NODE_OFFLINE"),
        ({"node": "n1"}, True, "NOT_READY"),
    ],
)
async def test_what_is_in_the_way_when_its_time_is_over_is_told(
    shop: Workshop, placed: dict[str, Any], online: bool, reason: str
) -> None:
    world = shop.world
    await world.has(a_runtime(**placed))
    world.fleet.connect("n1") if online else world.fleet.disconnect("n1", NOON)
    shop.says(STARTING, generation=1)
    job = await shop.create(ENSURE)
    world.clock.advance(timedelta(minutes=9))
    assert (await shop.settled(job)).state is JobState.RUNNING
    world.clock.advance(timedelta(minutes=1))
    job = await shop.settled(job)
    assert job.state is JobState.FAILED
    assert job.problem is not None
    assert job.problem.reason == reason


async def test_a_restart_is_done_once_another_process_serves(shop: Workshop) -> None:
    job = await shop.create(replace(RESTORE, restart=True))
    shop.world.clock.advance(timedelta(seconds=30))
    assert (await shop.settled(job)).state is JobState.RUNNING
    shop.says(READY, generation=1, incarnation=2)
    assert (await shop.settled(job)).state is JobState.SUCCEEDED


async def test_a_restore_of_what_serves_is_complete_at_once(shop: Workshop) -> None:
    assert (await shop.create(RESTORE)).state is JobState.SUCCEEDED
    assert [event.payload["ok"] for event in await shop.world.events("runtime.restore.completed")] == [True]


async def test_a_shutdown_is_done_once_the_node_says_so(shop: Workshop) -> None:
    job = await shop.create(SHUTDOWN)
    assert (await shop.world.runtime()).desired_state is DesiredState.STOPPED
    assert (await shop.settled(job)).state is JobState.RUNNING
    shop.says(OFFLINE, generation=1)
    assert (await shop.settled(job)).state is JobState.SUCCEEDED
    again = await shop.create(SHUTDOWN)
    assert (await shop.settled(again)).state is JobState.SUCCEEDED
    assert (await shop.world.topics()).count("runtime.shutdown.requested") == 1


@pytest.mark.parametrize(("order", "reason"), [(SHUTDOWN, "ETAG_MISMATCH"), (RESTORE, "SHUT_DOWN")])
async def test_an_operator_who_wants_something_else_meanwhile_ends_the_job(
    shop: Workshop, order: JobOrder, reason: str
) -> None:
    world = shop.world
    job = await shop.create(replace(order, restart=True))
    other = RestoreRuntime if order is SHUTDOWN else ShutdownRuntime
    view = await other(world.store, world.fleet, world.clock)(CHAT)
    job = await shop.settled(job)
    assert job.state is JobState.ABORTED
    assert job.problem is not None
    assert job.problem.reason == reason
    assert (await world.runtime()).revision == view.runtime.revision


async def test_a_deleted_runtime_ends_its_jobs_even_when_it_is_declared_anew(shop: Workshop) -> None:
    job = await shop.create(SHUTDOWN)
    await DeleteRuntime(shop.world.store, shop.world.clock)(CHAT)
    await shop.world.has(replace(a_runtime(node="n1"), uid="another", desired_state=DesiredState.STOPPED))
    job = await shop.settled(job)
    assert job.state is JobState.ABORTED
    assert job.problem is not None
    assert job.problem.reason == "NOT_FOUND"


async def test_a_cancelled_job_leaves_what_it_ordered(shop: Workshop) -> None:
    await stopped(shop)
    job = await shop.create(ENSURE)
    await shop.cancel(job)
    job = await shop.settled(job)
    assert (job.state, job.problem) == (JobState.CANCELLED, None)
    assert (await shop.world.runtime()).desired_state is DesiredState.RUNNING
    assert (await shop.cancel(job)).state is JobState.CANCELLED


async def test_a_probe_waits_for_a_word_that_is_newer_than_itself(shop: Workshop) -> None:
    health = InstanceHealth(probe_latency=timedelta(milliseconds=12))
    shop.says(InstanceState.DEGRADED, generation=1, severity=Severity.WARN, detail=("slow",), health=health)
    job = await shop.create(PROBE)
    assert (await shop.settled(job)).state is JobState.RUNNING
    shop.world.clock.advance(timedelta(seconds=2))
    shop.heard()
    job = await shop.settled(job)
    found = job.probed
    assert job.state is JobState.SUCCEEDED
    assert found is not None
    assert (found.state, found.severity, found.detail) == (InstanceState.DEGRADED, Severity.WARN, ("slow",))
    assert (found.latency, found.node) == (timedelta(milliseconds=12), "n1")
    assert (found.report_time, found.contact_time) == (NOON, NOON + timedelta(seconds=2))


async def test_a_probe_is_answered_by_a_node_that_looks_for_it(shop: Workshop) -> None:
    shop.can_probe = True
    job = await shop.settled(await shop.create(PROBE))
    shop.heard()
    shop.says(READY, generation=1, answered_probes=("another",))
    assert (await shop.settled(job)).state is JobState.RUNNING
    health = InstanceHealth(probe_latency=timedelta(milliseconds=3))
    shop.says(READY, generation=1, health=health, answered_probes=("another", job.id))
    found = (await shop.settled(job)).probed
    assert found is not None
    assert (found.fresh, found.latency, found.contact_time) == (True, timedelta(milliseconds=3), NOON)
    assert shop.probes == [("n1", CHAT, job.id)]


async def test_a_node_that_is_asked_and_does_not_look_is_taken_at_its_last_word(shop: Workshop) -> None:
    shop.can_probe = True
    job = await shop.settled(await shop.create(PROBE))
    for wait, state in ((ANSWER_WITHIN - timedelta(seconds=1), JobState.RUNNING), (timedelta(seconds=1), READY)):
        shop.world.clock.advance(wait)
        shop.heard()
        job = await shop.settled(job)
        assert (job.probed.state if job.probed else job.state) is state
    assert job.probed is not None
    assert not job.probed.fresh
    assert len(shop.probes) == 1


async def test_a_probe_whose_time_is_over_waits_for_no_look(shop: Workshop) -> None:
    shop.can_probe = True
    job = await shop.settled(await shop.create(replace(PROBE, time_limit=timedelta(seconds=2))))
    shop.world.clock.advance(timedelta(seconds=2))
    shop.heard()
    job = await shop.settled(job)
    assert (job.state, job.probed is not None and job.probed.fresh) == (JobState.SUCCEEDED, False)


async def test_a_node_is_asked_again_in_its_next_session_and_by_who_takes_over(shop: Workshop) -> None:
    shop.can_probe = True
    job = await shop.settled(await shop.create(PROBE))
    shop.world.fleet.contacts[NODE] = replace(shop.world.fleet.contacts[NODE], session_epoch=2)
    await shop.settled(job)
    heir = shop.restarted()
    await heir.settled(job)
    assert [request for *_, request in (*shop.probes, *heir.probes)] == [job.id] * 3


async def test_a_probe_of_a_node_that_does_not_answer_fails_in_time(shop: Workshop) -> None:
    shop.world.fleet.disconnect("n1", NOON)
    job = await shop.create(PROBE)
    shop.world.clock.advance(timedelta(minutes=1))
    job = await shop.settled(job)
    assert job.problem is not None
    assert (job.state, job.problem.reason, job.probed) == (JobState.FAILED, "NODE_OFFLINE", None)


async def test_a_probe_of_what_has_no_place_asks_nobody(shop: Workshop) -> None:
    await shop.world.has(a_runtime(placement_problem=Problem("NO_NODE", "No machine has joined yet.")))
    job = await shop.settled(await shop.create(PROBE))
    assert job.probed is not None
    assert (job.state, job.probed.state, job.probed.node) == (JobState.SUCCEEDED, InstanceState.PENDING, None)


async def test_no_more_jobs_may_be_in_hand_than_can_be_followed(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(create_job, "MAX_UNFINISHED", 1)
    await shop.create(SHUTDOWN)
    with pytest.raises(RateLimited):
        await shop.create(PROBE)


async def test_a_finished_job_is_kept_a_week_and_a_thousand_are(shop: Workshop) -> None:
    world = shop.world
    first = await shop.create(ENSURE)
    prune = PruneJobs(world.store, world.clock)
    world.clock.advance(timedelta(days=7))
    assert await prune() == 0
    running = await shop.create(SHUTDOWN)
    many = [replace(first, id=JobId(f"n{number}"), end_time=world.clock.now()) for number in range(RETENTION.kept)]
    await world.store.write(lambda tx: _put_all(tx, many))
    assert await prune() == 1
    with pytest.raises(NotFound):
        await GetJob(world.store)(first.id)
    world.clock.advance(timedelta(days=7, seconds=1))
    assert await prune() == RETENTION.kept
    assert [job.id for job in (await ListJobs(world.store)()).items] == [running.id]


def _put_all(tx: Transaction, jobs: Iterable[Job]) -> None:
    for job in jobs:
        tx.jobs.put(job)


async def test_a_watch_sends_the_job_after_each_change_and_ends_with_it(shop: Workshop) -> None:
    job = await shop.create(SHUTDOWN)
    seen = []
    async for change in WatchJob(shop.world.store, shop.book)(job.id):
        seen.append(change.state)
        shop.says(OFFLINE, generation=1)
        await shop.run()
    assert seen == [JobState.RUNNING, JobState.SUCCEEDED]
    with pytest.raises(NotFound):
        async for _ in WatchJob(shop.world.store, shop.book)(JobId("nobody")):
            pass


async def test_the_read_model_shows_the_newest_first(shop: Workshop) -> None:
    first = await shop.create(ENSURE)
    shop.world.clock.advance(timedelta(seconds=1))
    second = await shop.create(SHUTDOWN)
    shown = await GetJobs(shop.book, shop.world.clock)()
    assert [job.id for job in shown.jobs] == [second.id, first.id]
    await PruneJobs(shop.world.store, shop.world.clock)()


async def test_a_model_that_a_job_may_put_cannot_be_deleted(shop: Workshop) -> None:
    job = await shop.create(a_swap())
    delete = DeleteModel(shop.world.store, shop.world.clock)
    with pytest.raises(InUse, match=job.id):
        await delete(ModelId("tiny"))
    shop.says(READY, generation=2, incarnation=2)
    await shop.settled(job)
    await delete(ModelId("tiny"))


async def test_a_swap_that_cannot_be_is_refused(shop: Workshop) -> None:
    await shop.world.has(a_model("ears", format="ggml"), a_runtime("bare", spec=a_spec(model=ModelId(""))))
    with pytest.raises(InvalidArgument, match="ggml"):
        await shop.create(a_swap("ears"))
    with pytest.raises(InvalidArgument, match="no model"):
        await shop.create(a_swap(runtime=RuntimeId("bare")))
    with pytest.raises(ManifestInvalid, match="slots"):
        await shop.create(a_swap(settings=EngineSettings(slots=0)))
    assert (await shop.world.runtime()).generation == 1


async def test_a_swap_that_has_no_room_changes_nothing_and_says_why(shop: Workshop) -> None:
    await shop.world.has(a_model("huge", size_bytes=2**50))
    job = await shop.create(a_swap("huge"))
    assert job.problem is not None
    assert (job.state, job.problem.reason, job.rolled_back) == (JobState.FAILED, "MEMORY_INSUFFICIENT", None)
    assert (await shop.world.runtime()).generation == 1


async def test_an_instance_of_the_book_knows_what_another_process_did(shop: Workshop) -> None:
    job = await shop.create(SHUTDOWN)
    other = shop.restarted()
    shop.says(OFFLINE, generation=1)
    await other.settled(job)
    await shop.book.look()
    assert shop.book.jobs[job.id].state is JobState.SUCCEEDED
