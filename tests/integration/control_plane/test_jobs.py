"""Jobs on a whole control plane: by gRPC and HTTP, with a node that says what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from arw.v1 import instance_pb2, problem_pb2, session_pb2
from arw.v1 import job_pb2 as pb
from arw.v1.job_service_pb2 import (
    CancelJobRequest,
    CreateJobRequest,
    GetJobRequest,
    ListJobsRequest,
    WatchJobRequest,
)
from arw.v1.job_service_pb2_grpc import JobServiceStub
from arw.v1.model_pb2 import Model
from arw.v1.model_service_pb2 import CreateModelRequest
from arw.v1.runtime_service_pb2 import GetRuntimeRequest
from arw.v1.state_service_pb2 import ListEventsRequest
from tests.fakes.http_talk import Reply, talking
from tests.fakes.running_plane import RunningPlane
from tests.fakes.scripted_agent import PATIENCE, ScriptedAgent

CHAT = "runtimes/chat"
INSTANCE = "nodes/box/instances/chat"
READY, ERROR = instance_pb2.INSTANCE_STATE_READY, instance_pb2.INSTANCE_STATE_ERROR
OFFLINE = instance_pb2.INSTANCE_STATE_OFFLINE
BROKEN = problem_pb2.Problem(reason=problem_pb2.REASON_MODEL_FILE_INVALID, text="The file is no model.")
EXHAUSTED = instance_pb2.RestartBudget(max_restarts=3, used=3)
EXHAUSTED.window.FromSeconds(600)
EXHAUSTED.reset_in.FromSeconds(500)


@dataclass
class Scene:
    """A control plane with one node, which plays one runtime."""

    plane: RunningPlane
    agent: ScriptedAgent
    reports: int = 0

    @property
    def jobs(self) -> Any:
        return JobServiceStub(self.plane.channel)

    async def reports_that(self, state: int, generation: int, incarnation: int, **more: Any) -> None:
        self.reports += 1
        instance = instance_pb2.Instance(
            name=INSTANCE,
            state=state,  # type: ignore[arg-type]
            observed_generation=generation,
            incarnation=incarnation,
            **more,
        )
        report = session_pb2.ObservedReport(observed_seq=self.reports, full=self.reports == 1, instances=[instance])
        await self.agent.say(observed_report=report)

    async def takes(self, generation: int) -> session_pb2.DesiredBatch:
        """What is wanted of the node, once it is of this generation."""
        while True:
            batch = await self.agent.hear_batch()
            await self.agent.ack(batch)
            if any(resource.generation == generation for resource in batch.resources):
                return batch

    async def order(self, job: str = "", **order: Any) -> pb.Job:
        request = CreateJobRequest(order=pb.JobOrder(runtime=CHAT, **order), job_id=job)
        made: pb.Job = (await self.jobs.CreateJob(request)).job
        return made

    async def over(self, job: pb.Job) -> pb.Job:
        async with asyncio.timeout(PATIENCE):
            async for change in self.jobs.WatchJob(WatchJobRequest(name=job.name)):
                job = change.job
        return job

    async def post(self, path: str, body: object = None, token: str = "", **headers: str) -> Reply:
        async with asyncio.timeout(PATIENCE), talking(self.plane.ports["http"]) as talk:
            authorization = f"Bearer {token or self.plane.context['token']}"
            talk.ask("POST", f"/orchestrator/runtimes/{path}", body, authorization=authorization, **headers)
            return await talk.reply()

    async def got(self, path: str) -> Any:
        async with asyncio.timeout(PATIENCE), talking(self.plane.ports["http"]) as talk:
            talk.ask("GET", path, authorization=f"Bearer {self.plane.context['token']}")
            return (await talk.reply()).json()


@pytest.fixture
async def scene(plane: RunningPlane) -> AsyncIterator[Scene]:
    """The runtime serves."""
    async with _scene(plane) as made:
        yield made


@asynccontextmanager
async def _scene(plane: RunningPlane, *capabilities: str) -> AsyncIterator[Scene]:
    agent = await plane.agent("box", capabilities=["desired.delta/1", *capabilities])
    await plane.declare("chat")
    other = Model(path="/models/other.gguf", sha256="ef" * 32, size_bytes=1000, format="gguf")
    await plane.models.CreateModel(CreateModelRequest(model_id="other", model=other))
    made = Scene(plane, agent)
    await made.takes(1)
    await made.reports_that(READY, 1, 1)
    await plane.until_runtime("chat", READY)
    yield made
    await agent.hang_up()


async def test_a_swapped_model_reaches_the_node_and_the_job_ends_with_its_word(scene: Scene) -> None:
    job = await scene.order(swap_model=pb.SwapModelTask(model="models/other"))
    assert (job.state, job.kind, job.operator) == (pb.JOB_STATE_RUNNING, "runtime.swap_model", "local")
    batch = await scene.takes(2)
    assert batch.resources[0].instance.model.sha256 == "ef" * 32
    await scene.reports_that(READY, 2, 2)
    job = await scene.over(job)
    assert (job.state, job.progress_percent) == (pb.JOB_STATE_SUCCEEDED, 100)
    assert job.swap_model.previous_model == "models/m"
    assert not job.swap_model.HasField("rolled_back")


async def test_a_model_that_fails_is_rolled_back_on_the_node(scene: Scene) -> None:
    job = await scene.order(swap_model=pb.SwapModelTask(model="models/other"))
    await scene.takes(2)
    await scene.reports_that(ERROR, 2, 2, problem=BROKEN)
    batch = await scene.takes(3)
    assert batch.resources[0].instance.model.sha256 == "cd" * 32
    await scene.reports_that(READY, 3, 3)
    job = await scene.over(job)
    assert (job.state, job.problem.reason) == (pb.JOB_STATE_FAILED, problem_pb2.REASON_MODEL_FILE_INVALID)
    assert job.swap_model.rolled_back
    shown = (await scene.got("/state/orchestrator/jobs"))["jobs"][0]
    assert (shown["id"], shown["state"], shown["rolled_back"]) == (job.id, "failed", True)
    assert shown["problem"]["reason"] == "MODEL_FILE_INVALID"


async def test_a_cancelled_swap_is_taken_back(scene: Scene) -> None:
    job = await scene.order(swap_model=pb.SwapModelTask(model="models/other"))
    await scene.takes(2)
    await scene.reports_that(instance_pb2.INSTANCE_STATE_STARTING, 2, 2)
    assert (await scene.jobs.CancelJob(CancelJobRequest(name=job.name))).job.cancel_requested
    await scene.takes(3)
    await scene.reports_that(READY, 3, 3)
    job = await scene.over(job)
    assert (job.state, job.swap_model.rolled_back) == (pb.JOB_STATE_CANCELLED, True)


async def test_a_probe_is_answered_by_the_next_word_of_the_node(scene: Scene) -> None:
    job = await scene.order(health_probe=pb.HealthProbeTask())
    await scene.agent.say(heartbeat=session_pb2.Heartbeat(observed_seq=scene.reports))
    job = await scene.over(job)
    found = job.health_probe
    assert (job.state, found.state, found.node) == (pb.JOB_STATE_SUCCEEDED, READY, "nodes/box")
    assert found.contact_time.ToNanoseconds() > job.create_time.ToNanoseconds()


async def test_a_node_that_can_asks_its_engine_for_a_probe(plane: RunningPlane) -> None:
    async with _scene(plane, "instances.probe/1") as scene:
        job = await scene.order(health_probe=pb.HealthProbeTask())
        asked = (await scene.agent.hear("probe_instance")).probe_instance
        assert (asked.request, asked.instance) == (job.id, INSTANCE)
        health = instance_pb2.InstanceHealth()
        health.probe_latency.FromMilliseconds(7)
        await scene.reports_that(READY, 1, 1, health=health, answered_probes=[asked.request])
        found = (await scene.over(job)).health_probe
        assert (found.fresh, found.latency.ToMilliseconds()) == (True, 7)
        shown = (await scene.got("/state/orchestrator/jobs"))["jobs"][0]["health"]
        assert (shown["fresh"], shown["latency_ms"]) == (True, 7.0)


async def test_an_id_makes_one_job_and_no_second(scene: Scene) -> None:
    first = await scene.order("mine", ensure_ready=pb.EnsureReadyTask())
    again = await scene.order("mine", ensure_ready=pb.EnsureReadyTask())
    assert (first.state, again) == (pb.JOB_STATE_SUCCEEDED, first)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await scene.order("mine", shutdown=pb.ShutdownTask())
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "another one" in str(caught.value.details())
    listed = (await scene.jobs.ListJobs(ListJobsRequest())).jobs
    assert [job.id for job in listed] == ["mine"]
    assert (await scene.jobs.GetJob(GetJobRequest(name="jobs/mine"))).job == first


@pytest.mark.parametrize(
    ("order", "code"),
    [
        ({}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"swap_model": pb.SwapModelTask(model="models/nobody")}, grpc.StatusCode.NOT_FOUND),
        ({"swap_model": pb.SwapModelTask()}, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_an_order_that_says_too_little_or_names_what_is_not_there_is_refused(
    scene: Scene, order: dict[str, Any], code: grpc.StatusCode
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await scene.order(**order)
    assert caught.value.code() is code


async def test_a_restore_by_http_is_taken_as_a_job_with_its_budget(scene: Scene) -> None:
    reply = await scene.post("chat/restore", {"restart": True}, idempotency_key="again")
    assert reply.status == 202
    said = reply.json()
    assert said.pop("restart_budget") == {"window_seconds": 600, "max_restarts": 3, "used": 0, "remaining": 3}
    assert said == {"ok": True, "runtime_id": "chat", "pending": True, "job_id": "again"}
    assert (await scene.post("chat/restore", idempotency_key="again")).json()["job_id"] == "again"
    assert (await scene.post("chat/shutdown", idempotency_key="again")).status == 409
    await scene.reports_that(READY, 1, 2)
    job = await scene.over(pb.Job(name="jobs/again"))
    assert job.state == pb.JOB_STATE_SUCCEEDED
    runtime = (await scene.plane.runtimes.GetRuntime(GetRuntimeRequest(name=CHAT))).runtime
    assert runtime.instance.incarnation == 2


async def test_a_restore_by_http_without_restarts_left_is_429_and_its_job_says_why(scene: Scene) -> None:
    await scene.reports_that(ERROR, 1, 4, problem=BROKEN, restart_budget=EXHAUSTED)
    await scene.plane.until_runtime("chat", ERROR)
    reply = await scene.post("chat/restore")
    said = reply.json()
    assert (reply.status, said["ok"], said["pending"]) == (429, False, False)
    assert said["reason"] == "Restart budget exhausted"
    assert (said["restart_budget"]["used"], said["restart_budget"]["remaining"]) == (3, 0)
    assert said["restart_budget"]["reset_at"]
    job = (await scene.jobs.GetJob(GetJobRequest(name=f"jobs/{said['job_id']}"))).job
    assert (job.state, job.problem.reason) == (pb.JOB_STATE_FAILED, problem_pb2.REASON_RESTART_BUDGET_EXHAUSTED)
    assert (await scene.post("chat/restore", {"reset_budget": True})).status == 202


async def test_a_shutdown_by_http_says_whether_it_is_stopped_yet(scene: Scene) -> None:
    reply = await scene.post("chat/shutdown")
    said = reply.json()
    job = pb.Job(name=f"jobs/{said.pop('job_id')}")
    assert (reply.status, said) == (202, {"ok": True, "runtime_id": "chat", "stopped": False, "pending": True})
    await scene.reports_that(OFFLINE, 1, 1)
    assert (await scene.over(job)).state == pb.JOB_STATE_SUCCEEDED


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("nobody/restore", None, 404),
        ("nobody/shutdown", None, 404),
        ("NOBODY/restore", None, 400),
        ("chat/restore", {"restart": "yes"}, 400),
        ("chat/restore", {"fast": True}, 400),
        ("chat/restore", {"preset": "turbo"}, 400),
        ("chat/restart", None, 404),
    ],
)
async def test_an_order_by_http_that_cannot_be_is_a_problem(scene: Scene, path: str, body: object, status: int) -> None:
    reply = await scene.post(path, body)
    assert (reply.status, reply.headers["content-type"]) == (status, "application/problem+json")


async def test_an_order_by_http_needs_a_token(scene: Scene) -> None:
    assert (await scene.post("chat/shutdown", token="local.wrong")).status == 401
    events = await scene.plane.state.ListEvents(ListEventsRequest(prefixes=["orchestrator."]))
    assert not events.events


async def test_the_journal_tells_of_each_job(scene: Scene) -> None:
    job = await scene.order(ensure_ready=pb.EnsureReadyTask())
    rows = (await scene.plane.state.ListEvents(ListEventsRequest(prefixes=["orchestrator."]))).events
    assert [row.kind for row in rows] == ["orchestrator.job.created", "orchestrator.job.completed"]
    assert {row.subject for row in rows} == {job.name}
    assert rows[1].payload["state"] == "succeeded"
