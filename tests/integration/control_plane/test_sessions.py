from __future__ import annotations

import asyncio

import grpc
import pytest

from arw.v1 import instance_pb2, node_pb2, problem_pb2, session_pb2
from arw.v1.node_service_pb2 import AllowRemovalsRequest, GetNodeRequest, RevokeNodeRequest
from arw.v1.state_service_pb2 import ListEventsRequest, WatchEventsRequest
from control_plane.domain.ids import NodeId
from tests.fakes.patience import SLACK
from tests.fakes.running_plane import RunningPlane
from tests.fakes.scripted_agent import PATIENCE, ScriptedAgent
from wire.error_status import refusal_of

R = "nodes/n1/instances/r1"


async def state_of(plane: RunningPlane, node: str) -> int:
    return int((await plane.nodes.GetNode(GetNodeRequest(name=f"nodes/{node}"))).node.state)


def reported(name: str, state: int, seq: int, *, full: bool = True) -> session_pb2.ObservedReport:
    instance = instance_pb2.Instance(name=name, state=state, observed_generation=1)  # type: ignore[arg-type]
    return session_pb2.ObservedReport(observed_seq=seq, full=full, instances=[instance])


async def once_up_to_date(plane: RunningPlane) -> tuple[ScriptedAgent, str, session_pb2.DesiredBatch]:
    """An agent that stored everything and hung up, the history, and its last batch."""
    agent = await plane.agent("n1")
    await agent.ack(await agent.hear_batch())
    await plane.declare("r1")
    batch = await agent.hear_batch()
    await agent.ack(batch)
    await agent.hang_up()
    return agent, agent.heard[0].welcome.history_id, batch


async def test_a_welcomed_node_gets_its_whole_desired_state_and_is_online(plane: RunningPlane) -> None:
    agent = ScriptedAgent(await plane.join("n1"))
    welcome = (await agent.open()).welcome
    batch = await agent.hear_batch()
    await agent.ack(batch)
    await agent.say(heartbeat=session_pb2.Heartbeat())
    ack = (await agent.hear("heartbeat_ack")).heartbeat_ack

    assert welcome.session_epoch == 1
    assert welcome.capabilities == ["desired.delta/1", "logs.push/1"]
    assert welcome.replicas[0].grpc_address == plane.address("grpc")
    assert batch.snapshot
    assert batch.last_chunk
    assert ack.heartbeat_seq == 3
    assert ack.next_period.ToTimedelta().total_seconds() == pytest.approx(1.0, abs=0.11)
    assert await state_of(plane, "n1") == node_pb2.NODE_STATE_ONLINE
    await agent.hang_up()


async def test_a_declared_runtime_reaches_the_node_and_its_state_comes_back(plane: RunningPlane) -> None:
    agent = await plane.agent("n1")
    await agent.ack(await agent.hear_batch())
    await plane.declare("r1")

    batch = await agent.hear_batch()
    await agent.ack(batch)
    await agent.say(observed_report=reported(R, instance_pb2.INSTANCE_STATE_READY, 1))
    seen = await plane.until_runtime("r1", instance_pb2.INSTANCE_STATE_READY)

    assert [resource.name for resource in batch.resources] == [R]
    assert not batch.snapshot
    (hold,) = batch.resources[0].instance.holds
    assert hold.claim == "system"
    assert hold.fence > 0
    assert seen.node == "nodes/n1"
    await agent.hang_up()


async def test_a_node_that_is_up_to_date_gets_no_snapshot_again(plane: RunningPlane) -> None:
    agent, history, batch = await once_up_to_date(plane)
    await agent.open(history_id=history, desired_revision=batch.to_revision, desired_digest=batch.digest_after)
    again = await agent.hear_batch()
    assert not again.snapshot
    assert not again.resources
    assert again.digest_after == batch.digest_after
    await agent.hang_up()


async def test_a_wrong_digest_gets_a_snapshot(plane: RunningPlane) -> None:
    agent, history, batch = await once_up_to_date(plane)
    await agent.open(history_id=history, desired_revision=batch.to_revision, desired_digest=b"other")
    again = await agent.hear_batch()
    assert again.snapshot
    assert [resource.name for resource in again.resources] == [R]
    await agent.hang_up()


async def test_a_refused_spec_is_shown_as_an_error_with_the_nodes_words(plane: RunningPlane) -> None:
    agent = await plane.agent("n1")
    await agent.ack(await agent.hear_batch())
    await plane.declare("r1")
    batch = await agent.hear_batch()
    problem = problem_pb2.Problem(
        reason=problem_pb2.REASON_MODEL_FILE_MISSING, text="There is no /models/m.gguf.", remedy="Copy it there."
    )
    await agent.ack(batch, session_pb2.ResourceProblem(name=R, generation=1, problem=problem))
    seen = await plane.until_runtime("r1", instance_pb2.INSTANCE_STATE_ERROR)

    assert seen.instance.problem.reason == problem_pb2.REASON_MODEL_FILE_MISSING
    assert seen.instance.summary == "There is no /models/m.gguf."
    await agent.hang_up()


async def until_journalled(plane: RunningPlane, cause: str) -> None:
    """Wait for the event that tells this of a node, with all that runs there."""
    events = plane.state.WatchEvents(WatchEventsRequest(prefixes=["cluster.node.changed"], after_id=0))
    async with asyncio.timeout(PATIENCE):
        while (await events.read()).event.payload["cause"] != cause:
            pass
    events.cancel()


@pytest.mark.parametrize("answers_first", [False, True])
async def test_a_spec_that_is_still_refused_is_no_news_on_the_next_stream(
    plane: RunningPlane, answers_first: bool
) -> None:
    agent = await plane.agent("n1")
    await agent.ack(await agent.hear_batch())
    await agent.say(observed_report=session_pb2.ObservedReport(observed_seq=1, full=True))
    await until_journalled(plane, "connected")
    await plane.declare("r1")
    problem = problem_pb2.Problem(reason=problem_pb2.REASON_MODEL_FILE_MISSING, text="There is no /models/m.gguf.")
    refusing = session_pb2.ResourceProblem(name=R, generation=1, problem=problem)
    await agent.ack(await agent.hear_batch(), refusing)
    await plane.until_runtime("r1", instance_pb2.INSTANCE_STATE_ERROR)
    await agent.hang_up()

    await agent.open()
    batch = await agent.hear_batch()
    empty = session_pb2.ObservedReport(observed_seq=2, full=True)
    if answers_first:
        await agent.ack(batch, refusing)
    await agent.say(observed_report=empty)
    if not answers_first:
        await agent.ack(batch, refusing)
    await agent.say(heartbeat=session_pb2.Heartbeat(observed_seq=2))
    await agent.hear("heartbeat_ack")

    seen = await plane.until_runtime("r1", instance_pb2.INSTANCE_STATE_ERROR)
    assert seen.instance.summary == "There is no /models/m.gguf."
    events = (await plane.state.ListEvents(ListEventsRequest(prefixes=["runtime.state", "runtime.removed"]))).events
    assert [(event.kind, event.payload["state"]) for event in events] == [("runtime.state.changed", "error")]
    await agent.hang_up()


async def test_an_operator_lets_held_removals_through_while_the_node_is_connected(plane: RunningPlane) -> None:
    agent = await plane.agent("n1")
    batch = await agent.hear_batch()
    problem = problem_pb2.Problem(reason=problem_pb2.REASON_REMOVAL_GUARD, text="Too many at once.")
    await agent.ack(batch, session_pb2.ResourceProblem(name=R, problem=problem, spec_revision=5))
    await agent.say(heartbeat=session_pb2.Heartbeat())
    await agent.hear("heartbeat_ack")
    held = (await plane.nodes.GetNode(GetNodeRequest(name="nodes/n1"))).node.held_removals
    assert list(held) == [node_pb2.HeldRemoval(instance=R, spec_revision=5)]

    await plane.nodes.AllowRemovals(AllowRemovalsRequest(name="nodes/n1", removals=held))
    allowing = await agent.hear_batch()
    assert list(allowing.allowed_removals) == list(held)
    assert [*allowing.resources, *allowing.removals] == []

    elsewhere = node_pb2.HeldRemoval(instance="nodes/n2/instances/r1", spec_revision=5)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await plane.nodes.AllowRemovals(AllowRemovalsRequest(name="nodes/n1", removals=[elsewhere]))
    assert refusal_of(refused.value).remote_reason == "INVALID_ARGUMENT"
    await agent.say(goodbye=session_pb2.Goodbye(kind=session_pb2.GOODBYE_KIND_SHUTDOWN))
    await plane.until_node("n1", node_pb2.NODE_STATE_OFFLINE)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await plane.nodes.AllowRemovals(AllowRemovalsRequest(name="nodes/n1", removals=held))
    assert refusal_of(refused.value).remote_reason == "NODE_OFFLINE"
    await agent.hang_up()


async def test_a_node_that_holds_back_removals_says_so_until_it_does_not(plane: RunningPlane) -> None:
    agent = await plane.agent("n1")
    batch = await agent.hear_batch()
    problem = problem_pb2.Problem(reason=problem_pb2.REASON_REMOVAL_GUARD, text="Too many at once.")
    await agent.ack(batch, session_pb2.ResourceProblem(name=R, generation=1, problem=problem))
    events = plane.state.WatchEvents(WatchEventsRequest(prefixes=["cluster.node.changed"], after_id=0))
    texts: list[str] = []
    async with asyncio.timeout(PATIENCE):
        while "Holds back 1 removal: r1." not in texts:
            texts.append((await events.read()).event.payload["summary"])
    shown = (await plane.nodes.GetNode(GetNodeRequest(name="nodes/n1"))).node
    assert (shown.summary, shown.severity) == ("Holds back 1 removal: r1.", instance_pb2.SEVERITY_WARN)
    await agent.ack(batch)
    async with asyncio.timeout(PATIENCE):
        while texts[-1] != "Connected":
            texts.append((await events.read()).event.payload["summary"])
    events.cancel()
    await agent.hang_up()


async def test_a_newer_session_supersedes_the_older_one(plane: RunningPlane) -> None:
    first = await plane.agent("n1")
    second = ScriptedAgent(first.credentials, process_id="process-2")
    welcome = (await second.open()).welcome

    refusal = await first.refusal()
    error = await first.ended()
    assert welcome.session_epoch == first.epoch + 1
    assert refusal.problem.reason == problem_pb2.REASON_SESSION_SUPERSEDED
    assert refusal.HasField("retry_after")
    assert error is not None
    assert refusal_of(error).remote_reason == "SESSION_SUPERSEDED"
    await second.say(heartbeat=session_pb2.Heartbeat())
    await second.hear("heartbeat_ack")
    await second.hang_up()
    await first.hang_up()


async def test_three_processes_that_oust_each_other_are_quarantined(plane: RunningPlane) -> None:
    one = await plane.agent("n1")
    two = ScriptedAgent(one.credentials, process_id="process-2")
    await two.open()
    await one.hang_up()
    await one.open()
    await two.refusal()
    await two.hang_up()
    await two.dial()
    await two.greet()

    assert (await two.refusal()).problem.reason == problem_pb2.REASON_NODE_QUARANTINED
    ending = await one.ended()
    assert ending is not None
    assert await state_of(plane, "n1") == node_pb2.NODE_STATE_QUARANTINED
    await two.hang_up()
    await one.hang_up()


async def test_a_revoked_node_is_cut_within_two_seconds_and_not_let_in_again(plane: RunningPlane) -> None:
    agent = await plane.agent("n1")
    async with asyncio.timeout(2 * SLACK):
        await plane.nodes.RevokeNode(RevokeNodeRequest(name="nodes/n1"))
        refusal = await agent.refusal()
        error = await agent.ended()
    await agent.hang_up()
    assert not plane.plane.fleet.liveness(NodeId("n1")).online
    assert not plane.plane.sessions.admits(NodeId("n1"), agent.epoch, None)

    await agent.dial()
    await agent.greet()
    again = await agent.refusal()
    assert refusal.problem.reason == problem_pb2.REASON_CERTIFICATE_REVOKED
    assert error is not None
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert again.problem.reason == problem_pb2.REASON_CERTIFICATE_REVOKED
    assert not again.HasField("retry_after")
    await agent.hang_up()


async def test_a_message_of_an_old_epoch_ends_the_stream(plane: RunningPlane) -> None:
    agent = await plane.agent("n1")
    agent.epoch -= 1
    await agent.say(heartbeat=session_pb2.Heartbeat(desired_revision=99))
    assert (await agent.refusal()).problem.reason == problem_pb2.REASON_PROTOCOL_VIOLATION
    await agent.hang_up()


async def test_a_hello_for_another_node_is_refused(plane: RunningPlane) -> None:
    agent = ScriptedAgent(await plane.join("n1"))
    await plane.join("n2")
    await agent.dial()
    await agent.greet(node="nodes/n2")
    refusal = await agent.refusal()
    error = await agent.ended()

    assert refusal.problem.reason == problem_pb2.REASON_NODE_MISMATCH
    assert "n2" not in refusal.problem.text
    assert error is not None
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert await state_of(plane, "n2") == node_pb2.NODE_STATE_ENROLLED
    await agent.hang_up()


async def test_a_report_about_another_nodes_instance_is_refused(plane: RunningPlane) -> None:
    agent = await plane.agent("n1")
    foreign = reported("nodes/n2/instances/r1", instance_pb2.INSTANCE_STATE_READY, 1)
    await agent.say(observed_report=foreign)
    assert (await agent.refusal()).problem.reason == problem_pb2.REASON_NODE_MISMATCH
    await agent.hang_up()


async def test_a_stream_without_hello_is_closed(plane: RunningPlane) -> None:
    agent = ScriptedAgent(await plane.join("n1"))
    await agent.dial()
    # The call itself only starts with its first write or read.
    async with asyncio.timeout(3 * SLACK):
        refusal = await agent.refusal()
    assert refusal.problem.reason == problem_pb2.REASON_PROTOCOL_VIOLATION
    await agent.hang_up()


async def test_a_node_that_never_acknowledges_is_closed(plane: RunningPlane) -> None:
    agent = await plane.agent("n1")
    await agent.hear_batch()
    async with asyncio.timeout(5 * SLACK):
        refusal = await agent.refusal()
    assert refusal.problem.reason == problem_pb2.REASON_UNAVAILABLE
    assert refusal.HasField("retry_after")
    await agent.hang_up()


async def test_a_lost_node_is_offline_after_the_grace_and_online_when_it_returns(plane: RunningPlane) -> None:
    agent = await plane.agent("n1")
    await agent.hang_up()
    assert await state_of(plane, "n1") == node_pb2.NODE_STATE_ONLINE
    await plane.until_node("n1", node_pb2.NODE_STATE_OFFLINE)
    await agent.open()
    await plane.until_node("n1", node_pb2.NODE_STATE_ONLINE)
    await agent.hang_up()


async def test_a_missing_report_makes_the_control_plane_ask_for_everything(plane: RunningPlane) -> None:
    agent = await plane.agent("n1")
    await agent.say(observed_report=session_pb2.ObservedReport(observed_seq=1, full=True))
    await agent.say(observed_report=session_pb2.ObservedReport(observed_seq=3))
    await agent.hear("report_full_state")
    await agent.hang_up()


async def test_a_stopping_control_plane_says_so_first(plane: RunningPlane) -> None:
    agent = await plane.agent("n1")
    plane.stop.set()
    notice = (await agent.hear("drain_notice")).drain_notice
    await agent.say(goodbye=session_pb2.Goodbye(kind=session_pb2.GOODBYE_KIND_RESTART))
    assert notice.reconnect_within.ToTimedelta().total_seconds() == 5
    assert await agent.ended() is None
    await agent.hang_up()
    await asyncio.wait({plane.task}, timeout=5 * SLACK)
    assert plane.task.done()
