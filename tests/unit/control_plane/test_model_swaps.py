"""Another model for a runtime: put as one change, rolled back when it does not serve, never against an operator."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from control_plane.domain.instance import InstanceState
from control_plane.domain.jobs.job import JobKind, JobState
from control_plane.domain.jobs.standing import OLD_NEWS
from control_plane.domain.manifest import Manifest, ManifestForm, ManifestRuntime
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import EngineSettings
from control_plane.manifests.reader import Reader
from control_plane.use_cases.apply_manifest import ApplyManifest
from control_plane.use_cases.reload_manifests import ReloadManifests
from control_plane.use_cases.shutdown_runtime import ShutdownRuntime
from tests.fakes.clock import NOON
from tests.fakes.control_plane import World, a_model, a_node, a_runtime, a_spec
from tests.fakes.jobs import CHAT, LIMIT, NODE, Workshop, a_swap, an_order

READY, STARTING, ERROR = InstanceState.READY, InstanceState.STARTING, InstanceState.ERROR
BROKEN = Problem("MODEL_FILE_INVALID", "The file is no model.", "Use another file.")
MANIFEST = b'version = 1\n[[runtimes]]\nid = "chat"\nadapter = "llama.cpp"\nmodel = "third"\n'


@pytest.fixture
async def shop(world: World) -> Workshop:
    models = (a_model(), a_model("other", sha256="cd" * 32), a_model("third"))
    await world.has(*models, a_node("n1"), a_runtime(node="n1", source="fleet.toml"))
    world.fleet.connect("n1", NOON)
    made = Workshop(world)
    made.says(READY, generation=1)
    return made


def reload(world: World) -> ReloadManifests:
    return ReloadManifests(world.store, world.clock, world.randomness)


async def test_a_swap_is_one_change_and_done_once_the_new_model_serves(shop: Workshop) -> None:
    before = await shop.world.revision()
    settings = EngineSettings(slots=4)
    job = await shop.create(a_swap(settings=settings))
    assert await shop.world.revision() == before + 1
    runtime = await shop.world.runtime()
    assert (runtime.spec.model, runtime.spec.settings, runtime.generation) == ("other", settings, 2)
    shop.says(READY, generation=2)
    assert (await shop.settled(job)).state is JobState.RUNNING, "the engine before, which is about to go"
    shop.says(STARTING, generation=2, incarnation=2)
    assert (await shop.settled(job)).progress_percent == 50
    shop.says(READY, generation=2, incarnation=2)
    job = await shop.settled(job)
    assert (job.state, job.rolled_back, job.previous) == (JobState.SUCCEEDED, None, a_spec())
    assert (await shop.world.topics()).count("runtime.declared") == 1


async def test_settings_that_a_swap_does_not_name_stay(shop: Workshop) -> None:
    spec = a_spec(settings=EngineSettings(slots=2, threads=1))
    await shop.world.has(a_runtime(node="n1", spec=spec))
    await shop.create(a_swap(settings=EngineSettings(threads=3)))
    assert (await shop.world.runtime()).spec.settings == EngineSettings(slots=2, threads=3)


async def test_a_swap_to_what_is_there_changes_nothing(shop: Workshop) -> None:
    job = await shop.settled(await shop.create(a_swap("tiny")))
    assert job.state is JobState.SUCCEEDED
    assert (await shop.world.runtime()).generation == 1


async def test_a_new_model_that_fails_is_rolled_back_and_both_are_told(shop: Workshop) -> None:
    job = await shop.create(a_swap())
    shop.says(ERROR, generation=2, incarnation=2, problem=BROKEN)
    job = await shop.settled(job)
    assert (job.state, job.problem, job.rolled_back) == (JobState.RUNNING, BROKEN, None)
    runtime = await shop.world.runtime()
    assert (runtime.spec, runtime.generation) == (a_spec(), 3)
    assert runtime.restore.reset_budget, "what the new model cost is not held against the one before"
    shop.says(READY, generation=3, incarnation=3)
    job = await shop.settled(job)
    assert (job.state, job.problem, job.rolled_back) == (JobState.FAILED, BROKEN, True)
    assert job.summary == "The file is no model. tiny serves again."
    (last,) = (await shop.world.events("orchestrator.job.completed"))[-1:]
    assert (last.payload["rolled_back"], last.payload["problem"]["reason"]) == (True, "MODEL_FILE_INVALID")


async def test_a_new_model_that_is_not_ready_in_time_is_rolled_back(shop: Workshop) -> None:
    job = await shop.create(a_swap())
    shop.says(STARTING, generation=2, incarnation=2)
    shop.world.clock.advance(LIMIT)
    job = await shop.settled(job)
    shop.says(READY, generation=3, incarnation=3)
    job = await shop.settled(job)
    assert job.problem is not None
    assert (job.state, job.problem.reason, job.rolled_back) == (JobState.FAILED, "NOT_READY", True)


async def test_a_node_that_refuses_the_new_spec_goes_on_with_the_one_before(shop: Workshop) -> None:
    job = await shop.create(a_swap())
    shop.says(READY, generation=1, problem=BROKEN)
    job = await shop.settled(job)
    assert (job.problem, (await shop.world.runtime()).generation) == (BROKEN, 3)
    shop.says(READY, generation=3)
    assert (await shop.settled(job)).rolled_back is None
    shop.world.clock.advance(OLD_NEWS)
    assert (await shop.settled(job)).rolled_back is True


async def test_what_ails_the_engine_that_serves_while_the_next_one_loads_is_no_objection(shop: Workshop) -> None:
    job = await shop.create(a_swap())
    shop.says(READY, generation=1, problem=Problem("PROBES_FAILED", "One of its probes went unanswered."))
    job = await shop.settled(job)
    assert (job.problem, (await shop.world.runtime()).generation) == (None, 2)
    shop.says(READY, generation=2, incarnation=2)
    assert (await shop.settled(job)).state is JobState.SUCCEEDED


async def test_what_cannot_be_rolled_back_is_told_beside_the_first_reason(shop: Workshop) -> None:
    job = await shop.create(a_swap())
    shop.says(ERROR, generation=2, incarnation=2, problem=BROKEN)
    await shop.settled(job)
    shop.world.fleet.disconnect("n1", NOON)
    shop.world.clock.advance(LIMIT)
    job = await shop.settled(job)
    assert (job.state, job.problem, job.rolled_back) == (JobState.FAILED, BROKEN, False)
    assert "tiny is declared again, and does not serve: Node n1 is not connected" in job.summary


async def test_a_cancelled_swap_is_rolled_back(shop: Workshop) -> None:
    job = await shop.create(a_swap())
    shop.says(STARTING, generation=2, incarnation=2)
    await shop.cancel(job)
    job = await shop.settled(job)
    assert (job.state, (await shop.world.runtime()).spec) == (JobState.RUNNING, a_spec())
    shop.says(READY, generation=3, incarnation=3)
    job = await shop.settled(job)
    assert (job.state, job.problem, job.rolled_back) == (JobState.CANCELLED, None, True)


async def test_what_an_operator_declares_meanwhile_counts_and_is_left_alone(shop: Workshop) -> None:
    world = shop.world
    job = await shop.create(a_swap())
    apply = ApplyManifest(world.store, world.fleet, world.clock, world.randomness, Reader())
    await apply(MANIFEST, ManifestForm.TOML, "fleet.toml")
    job = await shop.settled(job)
    assert job.problem is not None
    assert (job.state, job.problem.reason, job.rolled_back) == (JobState.ABORTED, "ETAG_MISMATCH", None)
    runtime = await world.runtime()
    assert (runtime.spec.model, runtime.generation, runtime.declared) == ("third", 3, None)


async def test_a_shutdown_meanwhile_ends_the_swap(shop: Workshop) -> None:
    job = await shop.create(a_swap())
    await ShutdownRuntime(shop.world.store, shop.world.fleet, shop.world.clock)(CHAT)
    job = await shop.settled(job)
    assert job.problem is not None
    assert (job.state, job.problem.reason) == (JobState.ABORTED, "SHUT_DOWN")
    assert (await shop.world.runtime()).spec.model == "other"


@pytest.mark.parametrize("model", ["other", "tiny"])
async def test_a_stopped_runtime_is_not_swapped(shop: Workshop, model: str) -> None:
    await ShutdownRuntime(shop.world.store, shop.world.fleet, shop.world.clock)(CHAT)
    job = await shop.create(a_swap(model))
    assert job.problem is not None
    assert (job.state, job.problem.reason) == (JobState.FAILED, "SHUT_DOWN")
    assert (await shop.world.runtime()).generation == 1


async def test_swaps_of_one_runtime_come_one_after_another(shop: Workshop) -> None:
    first = await shop.create(a_swap())
    shop.world.clock.advance(timedelta(seconds=1))
    second, restore = await shop.create(a_swap("third")), await shop.create(an_order(JobKind.RESTORE))
    assert {(await shop.settled(job)).state for job in (second, restore)} == {JobState.QUEUED}
    shop.says(READY, generation=2, incarnation=2)
    assert (await shop.settled(first)).state is JobState.SUCCEEDED
    assert (await shop.job(second)).state is JobState.RUNNING
    assert (await shop.world.runtime()).spec.model == "third"
    shop.world.clock.advance(LIMIT)
    restored = await shop.settled(restore)
    assert restored.problem is not None
    assert (restored.state, restored.problem.reason) == (JobState.FAILED, "IN_USE")


async def test_a_file_that_says_what_it_said_does_not_undo_a_swap(shop: Workshop) -> None:
    same = Manifest((ManifestRuntime(CHAT, a_spec()),), source="fleet.toml")
    job = await shop.create(a_swap())
    for changed in ((), ("fleet.toml",)):
        told = await reload(shop.world)([same], changed)
        assert (told.updated, told.unchanged) == ((), 1)
    shop.says(READY, generation=2, incarnation=2)
    assert (await shop.settled(job)).state is JobState.SUCCEEDED
    assert (await shop.world.runtime()).spec.model == "other"


@pytest.mark.parametrize("model", ["tiny", "other"])
async def test_a_file_that_says_something_else_wins_over_a_swap(shop: Workshop, model: str) -> None:
    await shop.create(a_swap())
    changed = a_spec(model=a_model(model).id, display_name="Chat")
    await reload(shop.world)([Manifest((ManifestRuntime(CHAT, changed),), source="fleet.toml")], ["fleet.toml"])
    runtime = await shop.world.runtime()
    assert (runtime.spec, runtime.declared, runtime.generation) == (changed, None, 3)


async def test_a_file_that_follows_a_swap_is_the_one_that_counts_from_then_on(shop: Workshop) -> None:
    await shop.create(a_swap())
    for model in ("other", "tiny"):
        spec = a_spec(model=a_model(model).id)
        await reload(shop.world)([Manifest((ManifestRuntime(CHAT, spec),), source="fleet.toml")], ["fleet.toml"])
        runtime = await shop.world.runtime()
        assert (runtime.spec, runtime.declared) == (spec, None)


async def test_f62_a_job_goes_on_where_a_killed_control_plane_left_it_and_nothing_is_done_twice(
    shop: Workshop,
) -> None:
    job = await shop.create(a_swap())
    after = shop.restarted()
    again = await after.create(a_swap(), job.id)
    assert (again.id, again.state) == (job.id, JobState.RUNNING)
    after.says(ERROR, generation=2, incarnation=2, problem=BROKEN)
    await after.settled(job)
    last = after.restarted()
    assert (await last.create(a_swap(), job.id)).problem == BROKEN
    last.says(READY, generation=3, incarnation=3)
    assert (await last.settled(job)).state is JobState.FAILED
    assert (await shop.world.runtime()).generation == 3
    assert (await shop.world.topics()).count("orchestrator.job.created") == 1
    assert (await shop.world.topics()).count("runtime.declared") == 2


async def test_f62_a_node_that_is_killed_in_the_middle_is_waited_for(shop: Workshop) -> None:
    job = await shop.create(a_swap())
    shop.world.fleet.disconnect(NODE, NOON)
    job = await shop.settled(job)
    assert (job.state, job.summary) == (JobState.RUNNING, "Unknown - state set to Unknown")
    shop.world.fleet.connect(NODE, NOON)
    shop.says(READY, generation=2, incarnation=2)
    assert (await shop.settled(job)).state is JobState.SUCCEEDED
    assert (await shop.world.runtime()).generation == 2


async def test_f62_a_time_limit_that_passed_while_nobody_looked_waits_for_the_node(shop: Workshop) -> None:
    job = await shop.create(a_swap())
    shop.world.fleet.disconnect(NODE, NOON)
    shop.world.clock.advance(2 * LIMIT)
    after = shop.restarted()
    assert (await after.settled(job)).problem is None
    shop.world.fleet.connect(NODE, NOON)
    shop.says(READY, generation=2, incarnation=2)
    assert (await after.settled(job)).state is JobState.SUCCEEDED


async def test_a_node_that_comes_back_late_is_not_believed_of_the_engine_before(shop: Workshop) -> None:
    job = await shop.create(a_swap())
    shop.world.clock.advance(LIMIT / 2)
    shop.says(READY, generation=2)
    assert (await shop.settled(job)).state is JobState.RUNNING
    shop.says(STARTING, generation=2, incarnation=2)
    await shop.settled(job)
    shop.says(ERROR, generation=2, incarnation=2, problem=BROKEN)
    assert (await shop.settled(job)).problem == BROKEN


async def test_a_swap_that_needs_no_other_process_is_done_after_a_moment(shop: Workshop) -> None:
    job = await shop.create(a_swap())
    shop.says(READY, generation=2)
    assert (await shop.settled(job)).state is JobState.RUNNING
    shop.world.clock.advance(OLD_NEWS)
    assert (await shop.settled(job)).state is JobState.SUCCEEDED


async def test_a_step_that_somebody_was_faster_than_is_looked_at_again(shop: Workshop) -> None:
    job = await shop.create(a_swap())
    shop.says(ERROR, generation=2, incarnation=2, problem=BROKEN)
    await shop.world.mirror.look()
    runtime = await shop.world.runtime()
    await shop.world.has(replace(runtime, revision=runtime.revision + 7))
    assert (await shop.settled(job)).problem == BROKEN
    assert (await shop.world.runtime()).generation == 3
