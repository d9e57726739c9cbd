"""Several control planes on one PostgreSQL, with agents that say what a test tells them to."""

from __future__ import annotations

import asyncio
import io
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from arw.v1 import claim_pb2, instance_pb2, job_pb2, node_pb2, problem_pb2, session_pb2
from arw.v1.claim_service_pb2 import AcquireClaimRequest, GetClaimRequest, ReleaseClaimRequest
from arw.v1.claim_service_pb2_grpc import ClaimServiceStub
from arw.v1.job_service_pb2 import CreateJobRequest, WatchJobRequest
from arw.v1.job_service_pb2_grpc import JobServiceStub
from arw.v1.node_service_pb2 import AllowRemovalsRequest, DrainNodeRequest, GetNodeRequest
from arw.v1.runtime_pb2 import DESIRED_STATE_STOPPED
from arw.v1.runtime_service_pb2 import DeleteRuntimeRequest, GetRuntimeRequest, ShutdownRuntimeRequest
from arw.v1.state_service_pb2 import ListEventsRequest, WatchEventsRequest
from arw_client import Client, Context, connect
from arwctl.draining import until_empty
from arwctl.screen import Screen
from control_plane.domain.ids import NodeId
from control_plane.domain.node import HeldRemoval
from tests.fakes.http_talk import talking
from tests.fakes.running_plane import RunningPlane, running_plane
from tests.fakes.scripted_agent import PATIENCE, Credentials, ScriptedAgent

R1 = "nodes/n1/instances/r1"
PROBES = "instances.probe/1"
MANY = ["desired.delta/1", "logs.push/1", "replicas.many/1"]
ONLINE = node_pb2.NODE_STATE_ONLINE
READY, UNKNOWN = instance_pb2.INSTANCE_STATE_READY, instance_pb2.INSTANCE_STATE_UNKNOWN


@dataclass
class Replicas:
    folder: Path
    database: str
    stack: AsyncExitStack

    async def start(self, name: str) -> RunningPlane:
        secret = self.folder / "secret"
        if not secret.exists():
            secret.touch(mode=0o600)
            secret.write_text(secrets.token_urlsafe(48))
        plane = running_plane(self.folder / name, database=self.database, secret=secret)
        return await self.stack.enter_async_context(plane)


@pytest.fixture
async def replicas(tmp_path: Path, postgres_url: str) -> AsyncIterator[Replicas]:
    async with AsyncExitStack() as stack:
        yield Replicas(tmp_path, postgres_url, stack)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - what others do is no event here
            await asyncio.sleep(0.02)


def online(plane: RunningPlane, node: str) -> Callable[[], bool]:
    return lambda: plane.plane.fleet.liveness(NodeId(node)).online


def at(plane: RunningPlane, credentials: Credentials) -> Credentials:
    """The same identity, at another replica."""
    return replace(credentials, address=plane.address("grpc"))


def knows(plane: RunningPlane, *others: RunningPlane) -> Callable[[], bool]:
    """Where all of them are reached."""
    return lambda: sum(bool(each.place.grpc_address) for each in plane.plane.replicas) == 1 + len(others)


@dataclass
class Apart:
    """Operators ask at a, which leads; the stream of n1, where r1 serves, is at b."""

    a: RunningPlane
    b: RunningPlane
    n1: ScriptedAgent

    async def held_back(self) -> session_pb2.DesiredBatch:
        """The removal of r1, which the agent does not carry out by itself."""
        batch = await self.n1.hear_batch()
        while not batch.removals:
            await self.n1.ack(batch)
            batch = await self.n1.hear_batch()
        assert [gone.name for gone in batch.removals] == [R1]
        problem = problem_pb2.Problem(reason=problem_pb2.REASON_REMOVAL_GUARD, text="Too many at once.")
        await self.n1.ack(batch, session_pb2.ResourceProblem(name=R1, problem=problem, spec_revision=5))
        return batch

    async def let_through(self) -> None:
        """The agent hears that it may, and stops it."""
        batch = await self.n1.hear_batch()
        while not batch.allowed_removals:
            await self.n1.ack(batch)
            batch = await self.n1.hear_batch()
        assert list(batch.allowed_removals) == [node_pb2.HeldRemoval(instance=R1, spec_revision=5)]
        await self.n1.ack(batch)
        await self.n1.say(observed_report=session_pb2.ObservedReport(observed_seq=2, gone=[R1]))

    @property
    def held(self) -> Sequence[HeldRemoval]:
        """What a knows that n1 holds back."""
        return self.a.plane.fleet.liveness(NodeId("n1")).held

    def operator(self) -> AbstractAsyncContextManager[Client]:
        context = Context.load(self.a.on.paths.state / "context.json")
        return connect(replace(context, grpc_address=self.a.address("grpc")))


@pytest.fixture
async def apart(replicas: Replicas) -> Apart:
    a, b = await replicas.start("a"), await replicas.start("b")
    n1 = ScriptedAgent(at(b, await a.join("n1")))
    await n1.open(capabilities=[*MANY, PROBES])
    await until(online(a, "n1"))
    await a.declare("r1")
    await ready(n1, "n1", "r1")
    await a.until_runtime("r1", READY)
    return Apart(a, b, n1)


async def ready(agent: ScriptedAgent, node: str, runtime: str) -> None:
    """Take the desired state and say that its one instance serves."""
    batch = await agent.hear_batch()
    await agent.ack(batch)
    instance = instance_pb2.Instance(
        name=f"nodes/{node}/instances/{runtime}",
        state=READY,
        observed_generation=batch.resources[0].generation if batch.resources else 1,
    )
    await agent.say(observed_report=session_pb2.ObservedReport(observed_seq=1, full=True, instances=[instance]))


async def test_what_one_replica_hears_the_other_shows(replicas: Replicas) -> None:
    a, b = await replicas.start("a"), await replicas.start("b")
    agent = await a.agent("n1")
    await until(online(b, "n1"))
    await b.declare("r1")
    await ready(agent, "n1", "r1")
    for plane in (a, b):
        seen = await plane.until_runtime("r1", READY)
        assert seen.node == "nodes/n1"


async def test_a_node_goes_from_one_replica_to_another(replicas: Replicas) -> None:
    a, b = await replicas.start("a"), await replicas.start("b")
    credentials = await a.join("n1")
    first = ScriptedAgent(credentials)
    await first.open(capabilities=MANY)
    await until(online(b, "n1"))
    second = ScriptedAgent(at(b, credentials))
    welcome = await second.open(capabilities=MANY)
    assert welcome.session_epoch == first.epoch + 1
    refusal = await first.refusal()
    assert refusal.problem.reason == problem_pb2.REASON_SESSION_SUPERSEDED
    for plane in (a, b):
        assert await never_offline(plane)
        assert (await plane.nodes.GetNode(GetNodeRequest(name="nodes/n1"))).node.state == ONLINE


async def never_offline(plane: RunningPlane) -> bool:
    """Nor within the time that a node has to come back."""
    events = plane.state.WatchEvents(WatchEventsRequest(prefixes=["cluster.node.changed"], after_id=0))
    try:
        async with asyncio.timeout(1.2):
            while (await events.read()).event.payload["state"] != "offline":
                pass
    except TimeoutError:
        return True
    finally:
        events.cancel()
    return False


async def test_an_agent_hears_of_a_replica_that_comes_and_goes(replicas: Replicas) -> None:
    a = await replicas.start("a")
    agent = ScriptedAgent(await a.join("n1"))
    welcome = (await agent.open(capabilities=MANY)).welcome
    assert [replica.grpc_address for replica in welcome.replicas] == [a.address("grpc")]
    async with running_plane(replicas.folder / "b", database=replicas.database, secret=replicas.folder / "secret") as b:
        told = (await agent.hear("replicas_changed")).replicas_changed
        assert [replica.grpc_address for replica in told.replicas] == [a.address("grpc"), b.address("grpc")]
    told = (await agent.hear("replicas_changed")).replicas_changed
    assert [replica.grpc_address for replica in told.replicas] == [a.address("grpc")]


async def test_nodes_of_a_replica_that_is_gone_are_offline_until_they_come_back(replicas: Replicas) -> None:
    b = await replicas.start("b")
    async with AsyncExitStack() as brief:
        a = await brief.enter_async_context(
            running_plane(replicas.folder / "a", database=replicas.database, secret=replicas.folder / "secret")
        )
        agent = ScriptedAgent(await a.join("n1"))
        await agent.open(capabilities=MANY)
        await a.declare("r1")
        await ready(agent, "n1", "r1")
        await b.until_runtime("r1", READY)
    await b.until_runtime("r1", UNKNOWN)
    await until(lambda: not online(b, "n1")())
    again = ScriptedAgent(at(b, agent.credentials))
    await again.open(capabilities=MANY)
    await until(online(b, "n1"))


async def test_a_replica_that_joins_starts_nothing_that_was_shut_down(replicas: Replicas) -> None:
    a = await replicas.start("a")
    agent = await a.agent("n1")
    await a.declare("r1")
    await ready(agent, "n1", "r1")
    await a.runtimes.ShutdownRuntime(ShutdownRuntimeRequest(name="runtimes/r1"))
    b = await replicas.start("b")
    runtime = (await b.runtimes.GetRuntime(GetRuntimeRequest(name="runtimes/r1"))).runtime
    assert runtime.desired_state == DESIRED_STATE_STOPPED


async def test_one_of_them_leads_and_the_cluster_page_says_which(replicas: Replicas) -> None:
    a, b = await replicas.start("a"), await replicas.start("b")
    await until(knows(a, b))
    await until(knows(b, a))
    pages = [await page(plane, "/state/cluster") for plane in (a, b)]
    for found in pages:
        assert [replica["leads"] for replica in found["replicas"]] == [True, False]
        assert [replica["grpc_address"] for replica in found["replicas"]] == [a.address("grpc"), b.address("grpc")]


async def page(plane: RunningPlane, path: str) -> Any:
    async with talking(plane.ports["http"]) as talk:
        talk.ask("GET", path, authorization=f"Bearer {plane.context['token']}")
        return (await talk.reply()).json()


async def test_a_node_is_drained_at_another_replica_than_the_one_that_has_its_stream(apart: Apart) -> None:
    n2 = await apart.a.agent("n2")
    await apart.a.nodes.DrainNode(DrainNodeRequest(name="nodes/n1"))
    async with apart.operator() as client, asyncio.timeout(PATIENCE):
        waiting = asyncio.get_running_loop().create_task(
            until_empty(client, Screen(err=io.StringIO()), "nodes/n1", PATIENCE)
        )
        await apart.held_back()
        await ready(n2, "n2", "r1")
        await apart.let_through()
        await waiting
    for plane in (apart.a, apart.b):
        assert (await plane.until_runtime("r1", READY)).node == "nodes/n2"
    allowed = await apart.a.state.ListEvents(ListEventsRequest(prefixes=["cluster.node.removals.allowed"]))
    assert [event.payload["operator"] for event in allowed.events] == ["drain"]


async def test_removals_are_let_through_at_another_replica(apart: Apart) -> None:
    await apart.a.runtimes.DeleteRuntime(DeleteRuntimeRequest(name="runtimes/r1"))
    await apart.held_back()
    await until(lambda: bool(apart.held))
    shown = (await apart.a.nodes.GetNode(GetNodeRequest(name="nodes/n1"))).node.held_removals
    await apart.a.nodes.AllowRemovals(AllowRemovalsRequest(name="nodes/n1", removals=shown))
    await apart.let_through()
    await until(lambda: not apart.held)


async def test_an_engine_is_asked_for_a_probe_ordered_at_either_replica(apart: Apart) -> None:
    for number, plane in enumerate((apart.a, apart.b), start=2):
        order = job_pb2.JobOrder(runtime="runtimes/r1", health_probe=job_pb2.HealthProbeTask())
        job = (await JobServiceStub(plane.channel).CreateJob(CreateJobRequest(order=order))).job
        asked = (await apart.n1.hear("probe_instance")).probe_instance
        assert (asked.request, asked.instance) == (job.id, R1)
        instance = instance_pb2.Instance(name=R1, state=READY, observed_generation=1, answered_probes=[asked.request])
        instance.health.probe_latency.FromMilliseconds(4)
        await apart.n1.say(observed_report=session_pb2.ObservedReport(observed_seq=number, instances=[instance]))
        async for change in JobServiceStub(plane.channel).WatchJob(WatchJobRequest(name=job.name), timeout=PATIENCE):
            job = change.job
        assert (job.health_probe.fresh, job.health_probe.latency.ToMilliseconds()) == (True, 4)


async def test_claims_are_taken_waited_for_and_given_up_at_any_replica(apart: Apart) -> None:
    at_a, at_b = [cast(Any, ClaimServiceStub(plane.channel)) for plane in (apart.a, apart.b)]
    wanted = AcquireClaimRequest(claim=claim_pb2.RuntimeClaim(model_tag="r1"), wait=True)
    first = at_a.AcquireClaim(wanted, timeout=PATIENCE)
    had = (await first.read()).claim
    second = at_b.AcquireClaim(wanted, timeout=PATIENCE)
    waiting = (await second.read()).claim
    assert (had.state, waiting.state) == (claim_pb2.CLAIM_STATE_RESERVED, claim_pb2.CLAIM_STATE_QUEUED)
    for stub in (at_a, at_b):
        shown = (await stub.GetClaim(GetClaimRequest(name=waiting.name))).claim
        assert (shown.wait.position, shown.wait.runtime) == (1, "runtimes/r1")
    plays = asyncio.ensure_future(acknowledging(apart.n1))
    assert (await last(first)).name == had.name
    await at_b.ReleaseClaim(ReleaseClaimRequest(name=had.name))
    granted = await last(second)
    assert (granted.name, granted.state) == (waiting.name, claim_pb2.CLAIM_STATE_GRANTED)
    assert granted.hold.fence > had.hold.fence
    plays.cancel()
    await asyncio.wait({plays})


async def acknowledging(agent: ScriptedAgent) -> None:
    while (answer := await agent.call.read()) is not grpc.aio.EOF:
        if answer.message.HasField("desired_batch"):
            await agent.ack(answer.message.desired_batch)


async def last(call: Any) -> claim_pb2.Claim:
    claim = claim_pb2.Claim()
    while (answer := await call.read()) is not grpc.aio.EOF:
        claim = answer.claim
    return claim
