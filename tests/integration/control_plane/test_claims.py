"""Claims on a whole control plane: by gRPC, with a node that says what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from arw.v1 import claim_pb2 as pb
from arw.v1 import instance_pb2, problem_pb2, session_pb2
from arw.v1.claim_service_pb2 import (
    AcquireClaimRequest,
    GetClaimRequest,
    ListClaimsRequest,
    ReleaseClaimRequest,
    RenewClaimRequest,
    RevokeClaimRequest,
    WatchClaimsRequest,
)
from arw.v1.claim_service_pb2_grpc import ClaimServiceStub
from arw.v1.project_pb2 import Project
from arw.v1.project_service_pb2 import CreateProjectRequest, UpdateProjectRequest
from arw.v1.project_service_pb2_grpc import ProjectServiceStub
from arw.v1.state_service_pb2 import ListEventsRequest
from tests.fakes.running_plane import RunningPlane
from tests.fakes.scripted_agent import PATIENCE, ScriptedAgent
from wire.error_status import RemoteRefusal, refusal_of

ALPHA = "projects/alpha"


@dataclass
class Scene:
    """A control plane with one node, on which `chat` and `spare` serve, each one request at a time."""

    plane: RunningPlane
    agent: ScriptedAgent
    mutes: bool = False
    """The node says nothing to what it is told."""

    @property
    def claims(self) -> Any:
        return ClaimServiceStub(self.plane.channel)

    @property
    def projects(self) -> Any:
        return ProjectServiceStub(self.plane.channel)

    async def plays(self) -> None:
        """Takes whatever it is told."""
        while True:
            message = await self.agent.call.read()
            if message is grpc.aio.EOF:
                return
            if message.message.WhichOneof("body") == "desired_batch" and not self.mutes:
                await self.agent.ack(message.message.desired_batch)

    async def reports(self, *runtimes: str, state: int = instance_pb2.INSTANCE_STATE_READY, seq: int = 1) -> None:
        instances = [
            instance_pb2.Instance(
                name=f"nodes/box/instances/{runtime}",
                state=state,  # type: ignore[arg-type]
                observed_generation=1,
                incarnation=1,
            )
            for runtime in runtimes
        ]
        report = session_pb2.ObservedReport(observed_seq=seq, full=seq == 1, instances=instances)
        await self.agent.say(observed_report=report)

    async def acquired(self, tag: str = "chat", *, project: str = ALPHA, request: str = "", **said: Any) -> pb.Claim:
        """Until it is granted or over."""
        order = pb.RuntimeClaim(model_tag=tag, **said)
        call = self.claims.AcquireClaim(
            AcquireClaimRequest(project=project, claim=order, request_id=request, wait=True)
        )
        async with asyncio.timeout(PATIENCE):
            claims = [answer.claim async for answer in call]
        last: pb.Claim = claims[-1]
        return last

    async def begun(self, tag: str = "chat", *, project: str = ALPHA, **said: Any) -> pb.Claim:
        order = pb.RuntimeClaim(model_tag=tag, **said)
        call = self.claims.AcquireClaim(AcquireClaimRequest(project=project, claim=order))
        async with asyncio.timeout(PATIENCE):
            claims: list[pb.Claim] = [answer.claim async for answer in call]
        return claims[0]

    async def until(self, claim: pb.Claim, state: pb.ClaimState.ValueType) -> pb.Claim:
        async with asyncio.timeout(PATIENCE):
            changes = self.claims.WatchClaims(WatchClaimsRequest(name=claim.name))
            seen: pb.Claim = (await changes.read()).claim
            while seen.state != state:
                seen = (await changes.read()).claim
            changes.cancel()
            return seen

    async def topics(self, claim: pb.Claim) -> list[str]:
        events = (await self.plane.state.ListEvents(ListEventsRequest(prefixes=["runtime.claim"]))).events
        return [event.kind for event in events if event.subject == claim.name]


@pytest.fixture
async def scene(plane: RunningPlane) -> AsyncIterator[Scene]:
    agent = await plane.agent("box")
    await plane.declare("chat", "spare")
    made = Scene(plane, agent)
    for project in ("alpha", "beta"):
        await made.projects.CreateProject(CreateProjectRequest(project_id=project))
    plays = asyncio.ensure_future(made.plays())
    await made.reports("chat", "spare")
    for runtime in ("chat", "spare"):
        await plane.until_runtime(runtime, instance_pb2.INSTANCE_STATE_READY)
    yield made
    plays.cancel()
    await agent.hang_up()


async def refused(call: Any) -> RemoteRefusal:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async with asyncio.timeout(PATIENCE):
            await (call.read() if hasattr(call, "read") else call)
    refusal = refusal_of(raised.value)
    assert isinstance(refusal, RemoteRefusal)
    return refusal


async def test_a_claim_goes_its_whole_way_and_the_journal_tells_it(scene: Scene) -> None:
    claim = await scene.acquired(ttl=Duration(seconds=60))
    assert (claim.state, claim.project, claim.hold.runtime, claim.hold.node) == (
        pb.CLAIM_STATE_GRANTED,
        ALPHA,
        "runtimes/chat",
        "nodes/box",
    )
    assert claim.hold.fence > 0
    renewed = (await scene.claims.RenewClaim(RenewClaimRequest(name=claim.name, project=ALPHA))).claim
    assert renewed.expire_time.ToDatetime() >= claim.expire_time.ToDatetime()
    released = (await scene.claims.ReleaseClaim(ReleaseClaimRequest(name=claim.name))).claim
    assert released.state == pb.CLAIM_STATE_RELEASED
    assert not released.HasField("hold")
    assert not released.HasField("expire_time")
    assert (await refused(scene.claims.RenewClaim(RenewClaimRequest(name=claim.name)))).remote_reason == "NOTHING_HELD"
    assert await scene.topics(claim) == [
        "runtime.claim.request",
        "runtime.claim.reserved",
        "runtime.claim.acquired",
        "runtime.claim.released",
    ]


async def test_who_waits_hears_its_place_the_reason_and_when_and_gets_it_once_it_is_free(scene: Scene) -> None:
    first = await scene.acquired()
    call = scene.claims.AcquireClaim(
        AcquireClaimRequest(project="projects/beta", claim=pb.RuntimeClaim(model_tag="chat"), wait=True)
    )
    async with asyncio.timeout(PATIENCE):
        waiting = (await call.read()).claim
        assert (waiting.state_slug, waiting.wait.position) == ("queued", 1)
        assert waiting.wait.problem.reason == problem_pb2.REASON_IN_USE
        assert waiting.wait.HasField("eta")
        assert (await scene.claims.GetClaim(GetClaimRequest(name=waiting.name))).claim.wait.position == 1
        await scene.claims.ReleaseClaim(ReleaseClaimRequest(name=first.name))
        while waiting.state != pb.CLAIM_STATE_GRANTED:
            waiting = (await call.read()).claim
        assert await call.read() is grpc.aio.EOF
    assert waiting.hold.runtime == "runtimes/chat"


async def test_the_same_request_is_the_same_claim_and_one_that_can_never_be_says_why(scene: Scene) -> None:
    request = str(uuid4())
    claim = await scene.acquired("nobody", request=request)
    assert (claim.state, claim.problem.reason) == (pb.CLAIM_STATE_REJECTED, problem_pb2.REASON_NOT_FOUND)
    assert (await scene.acquired("nobody", request=request)).name == claim.name
    other = AcquireClaimRequest(project=ALPHA, claim=pb.RuntimeClaim(model_tag="spare"), request_id=request)
    assert (await refused(scene.claims.AcquireClaim(other))).remote_reason == "REQUEST_ID_REUSED"
    for call in (
        scene.claims.GetClaim(GetClaimRequest(name=claim.name, project="projects/beta")),
        scene.claims.ReleaseClaim(ReleaseClaimRequest(name=claim.name, project="projects/beta")),
        scene.claims.WatchClaims(WatchClaimsRequest(name=claim.name, project="projects/beta")),
    ):
        assert (await refused(call)).remote_reason == "NOT_FOUND"


async def test_lists_and_watches_show_the_claims_of_a_project_or_of_all(scene: Scene) -> None:
    mine = await scene.acquired()
    theirs = await scene.acquired("spare", project="")
    everybody = (await scene.claims.ListClaims(ListClaimsRequest())).claims
    assert {claim.name for claim in everybody} == {mine.name, theirs.name}
    own = (await scene.claims.ListClaims(ListClaimsRequest(project=ALPHA, live=True))).claims
    assert [claim.name for claim in own] == [mine.name]
    changes = scene.claims.WatchClaims(WatchClaimsRequest(project=ALPHA))
    async with asyncio.timeout(PATIENCE):
        assert (await changes.read()).claim.name == mine.name
        assert (await changes.read()).synced
        await scene.claims.RevokeClaim(RevokeClaimRequest(name=mine.name, why="it is needed"))
        ended = (await changes.read()).claim
    assert (ended.state_slug, ended.problem.reason) == ("revoked", problem_pb2.REASON_CLAIM_REVOKED)
    assert "it is needed" in ended.problem.text
    changes.cancel()


async def test_what_stops_serving_is_suspended_and_another_takes_it_over(scene: Scene) -> None:
    claim = await scene.acquired(
        fallbacks=[pb.ClaimRequirement(model_tag="spare")], max_disruption=Duration(nanos=100_000_000)
    )
    await scene.reports("chat", state=instance_pb2.INSTANCE_STATE_ERROR, seq=2)
    await scene.until(claim, pb.CLAIM_STATE_SUSPENDED)
    elsewhere = await scene.until(claim, pb.CLAIM_STATE_GRANTED)
    assert (elsewhere.hold.runtime, elsewhere.alternative) == ("runtimes/spare", 1)
    events = (await scene.plane.state.ListEvents(ListEventsRequest(prefixes=["runtime.fallback"]))).events
    assert [event.payload["previous_runtime"] for event in events] == ["chat"]


async def test_claims_end_with_their_project(scene: Scene) -> None:
    claim = await scene.acquired()
    disabled = Project(name=ALPHA, disabled=True)
    await scene.projects.UpdateProject(
        UpdateProjectRequest(project=disabled, update_mask=FieldMask(paths=["disabled"]))
    )
    ended = await scene.until(claim, pb.CLAIM_STATE_REVOKED)
    assert ended.problem.reason == problem_pb2.REASON_PROJECT_DISABLED
    again = scene.claims.AcquireClaim(AcquireClaimRequest(project=ALPHA, claim=pb.RuntimeClaim(model_tag="chat")))
    assert (await refused(again)).remote_reason == "PROJECT_DISABLED"


async def test_a_claim_is_not_granted_before_its_node_says_so_and_lives_on_when_nobody_listens(scene: Scene) -> None:
    scene.mutes = True
    claim = await scene.begun()
    assert claim.state == pb.CLAIM_STATE_RESERVED
    assert (await scene.claims.GetClaim(GetClaimRequest(name=claim.name))).claim.state == pb.CLAIM_STATE_RESERVED
