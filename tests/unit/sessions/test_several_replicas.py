from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from arw.v1 import instance_pb2, problem_pb2
from arw.v1 import session_pb2 as pb
from arw.v1.agent_service_pb2 import PushLogsRequest
from control_plane.domain.errors import Draining, NodeOffline, NodeQuarantined, SessionSuperseded
from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.node import HeldRemoval, Standing
from control_plane.sessions.logs import LogChunk
from tests.fakes.hubs import SERIAL, Hub, Hubs, PlainAgent

N1 = NodeId("n1")
MANY = "replicas.many/1"
PROBES = "instances.probe/1"
R = "nodes/n1/instances/r1"


@dataclass
class Site:
    """Replicas a and b; the node n1 may connect to either."""

    hubs: Hubs = field(default_factory=Hubs)
    a: Hub = field(init=False)
    b: Hub = field(init=False)

    def __post_init__(self) -> None:
        self.a, self.b = self.hubs.add("a"), self.hubs.add("b")


@pytest.fixture
async def site() -> Site:
    made = Site()
    await made.hubs.join("n1")
    return made


async def connected(hub: Hub, *capabilities: str) -> PlainAgent:
    agent = PlainAgent("n1", "p1", *capabilities)
    await agent.open(hub)
    hub.tell()
    return agent


def report(seq: int) -> pb.ObservedReport:
    instance = instance_pb2.Instance(name=R, state=instance_pb2.INSTANCE_STATE_READY, observed_generation=1)
    return pb.ObservedReport(observed_seq=seq, full=True, instances=[instance])


async def rows(site: Site) -> tuple[int, int]:
    return await site.hubs.store.read(lambda tx: (tx.revision(), tx.journal.last_id()))


class TestWhoSpeaksForANode:
    async def test_a_repeated_hello_at_another_replica_wins_and_the_first_session_ends(self, site: Site) -> None:
        async with site.hubs.running("a", "b"):
            first, second = await connected(site.a), PlainAgent("n1")
            second.dial(site.b)
            second.repeat(first.said[0])
            welcome = await second.hear("welcome")
            assert welcome.session_epoch == first.epoch + 1
            assert await first.why() == "SESSION_SUPERSEDED"
            refusal = (await first.hear("refusal")).refusal
            assert refusal.problem.reason == problem_pb2.REASON_SESSION_SUPERSEDED
            assert not second.over
            await second.hang_up()

    async def test_a_session_that_was_overtaken_unheard_writes_no_row(self, site: Site) -> None:
        """The first replica is as deaf as one that the database left, and its agent goes on talking."""
        async with site.hubs.running("b"):
            first, second = await connected(site.a), PlainAgent("n1")
            await second.open(site.b)
            before = await rows(site)
            first.say(observed_report=report(1))
            assert await first.why() == "SESSION_SUPERSEDED"
            assert await rows(site) == before
            second.say(observed_report=report(1))
            second.say(heartbeat=pb.Heartbeat(observed_seq=1))
            await second.hear("heartbeat_ack")
            assert await rows(site) > before
            await second.hang_up()

    async def test_a_stream_ends_when_another_replica_tells_of_a_newer_session(self, site: Site) -> None:
        first, second = await connected(site.a), PlainAgent("n1")
        await second.open(site.b)
        assert not first.over
        site.b.tell()
        assert await first.why() == "SESSION_SUPERSEDED"
        site.a.tell()
        assert not second.over
        await second.hang_up()

    async def test_two_processes_that_oust_each_other_from_two_replicas_are_quarantined(self, site: Site) -> None:
        one, two = PlainAgent("n1", "one"), PlainAgent("n1", "two")
        async with site.hubs.running("a", "b"):
            for _ in range(3):
                await one.open(site.a)
                site.a.tell()
                await two.open(site.b)
                site.b.tell()
                assert await one.why() in {"SESSION_SUPERSEDED", "NODE_QUARANTINED"}
            assert await two.why() == "NODE_QUARANTINED"
            with pytest.raises(NodeQuarantined):
                await one.open(site.a)
        row = await site.hubs.store.read(lambda tx: tx.nodes.get(N1))
        assert row is not None
        assert row.standing is Standing.QUARANTINED

    async def test_one_process_that_moves_between_replicas_is_left_alone(self, site: Site) -> None:
        agent = PlainAgent("n1", "one")
        async with site.hubs.running("a", "b"):
            for _ in range(5):
                for hub in (site.a, site.b):
                    await agent.open(hub)
                    hub.tell()
            assert not agent.over
            await agent.hang_up()

    async def test_a_stream_that_begins_after_a_newer_one_was_heard_of_is_refused(self, site: Site) -> None:
        site.a.sessions.overtaken(N1, 5, "other")
        agent = PlainAgent("n1")
        with pytest.raises(SessionSuperseded):
            await agent.open(site.a)


class TestReachingANodeThatIsElsewhere:
    async def test_a_gateway_gets_its_connections_by_the_replica_that_has_the_stream(self, site: Site) -> None:
        agent = await connected(site.a)
        assert site.b.sessions.park(N1, 7)
        asked = (await agent.hear("park_connections")).park_connections
        assert (asked.idle_connections, asked.relay_address) == (7, "b:7445")
        assert site.a.sessions.park(N1, 5)
        await agent.until(lambda: len(agent.bodies("park_connections")) == 2)
        asked = agent.bodies("park_connections")[1].park_connections
        assert (asked.idle_connections, asked.relay_address) == (5, "")
        await agent.hang_up()

    async def test_relay_connections_belong_to_the_session_wherever_it_is(self, site: Site) -> None:
        agent = await connected(site.a)
        for hub in (site.a, site.b):
            assert hub.sessions.admits(N1, agent.epoch, SERIAL)
            assert hub.sessions.admits(N1, agent.epoch, None)
            assert not hub.sessions.admits(N1, agent.epoch, "another")
            assert not hub.sessions.admits(N1, agent.epoch + 1, SERIAL)
            assert not hub.sessions.superseded(N1, agent.epoch)
            assert hub.sessions.superseded(N1, agent.epoch - 1)
        await agent.hang_up()
        site.a.tell()
        assert not site.b.sessions.admits(N1, agent.epoch, SERIAL)
        assert not site.b.sessions.superseded(N1, agent.epoch - 1)

    async def test_a_node_that_moved_is_spoken_for_by_its_new_session(self, site: Site) -> None:
        before = await connected(site.a)
        agent = await connected(site.b)
        for hub in (site.a, site.b):
            assert hub.sessions.admits(N1, agent.epoch, SERIAL)
            assert hub.sessions.superseded(N1, before.epoch)
        await agent.hang_up()

    async def test_removals_are_let_through_by_the_replica_that_has_the_stream(self, site: Site) -> None:
        async with site.hubs.running("a"):
            agent = await connected(site.a)
            await agent.hear("desired_batch")
            batch = agent.bodies("desired_batch")[0].desired_batch
            agent.say(desired_ack=pb.DesiredAck(nonce=batch.nonce, desired_revision=batch.to_revision))
            assert site.b.sessions.let_through(N1, [HeldRemoval(RuntimeId("r1"), 4)])
            await agent.until(lambda: len(agent.bodies("desired_batch")) == 2)
            (allowed,) = agent.bodies("desired_batch")[1].desired_batch.allowed_removals
            assert (allowed.instance, allowed.spec_revision) == (R, 4)
            await agent.hang_up()

    async def test_removals_never_go_through_a_later_session(self, site: Site) -> None:
        async with site.hubs.running("a"):
            await connected(site.a)
            agent = PlainAgent("n1")
            await agent.open(site.a)
            await agent.hear("desired_batch")
            assert site.b.sessions.let_through(N1, [HeldRemoval(RuntimeId("r1"), 4)])
            agent.say(heartbeat=pb.Heartbeat())
            await agent.hear("heartbeat_ack")
            assert [len(each.desired_batch.allowed_removals) for each in agent.bodies("desired_batch")] == [0]
            await agent.hang_up()

    async def test_an_engine_is_asked_by_the_replica_that_has_the_stream(self, site: Site) -> None:
        agent = await connected(site.a, PROBES)
        for number, hub in enumerate((site.a, site.b), start=1):
            assert hub.sessions.probe(N1, RuntimeId("r1"), hub.id)
            await agent.until(lambda number=number: len(agent.bodies("probe_instance")) == number)  # type: ignore[misc]
        asked = [message.probe_instance for message in agent.bodies("probe_instance")]
        assert [(each.request, each.instance) for each in asked] == [("a", R), ("b", R)]
        await agent.hang_up()

    async def test_an_older_agent_is_not_asked_to_ask_its_engines(self, site: Site) -> None:
        agent = await connected(site.a)
        assert not site.a.sessions.probe(N1, RuntimeId("r1"), "j1")
        assert site.b.sessions.probe(N1, RuntimeId("r1"), "j2")
        agent.say(heartbeat=pb.Heartbeat())
        await agent.hear("heartbeat_ack")
        assert not agent.bodies("probe_instance")
        await agent.hang_up()

    async def test_a_node_that_no_replica_has_is_not_reached(self, site: Site) -> None:
        assert not site.b.sessions.park(N1, 3)
        assert not site.b.sessions.let_through(N1, [])
        assert not site.b.sessions.probe(N1, RuntimeId("r1"), "j1")
        with pytest.raises(NodeOffline):
            await anext(site.b.sessions.logs.read(N1, RuntimeId("r1"), 5, follow=True))

    async def test_an_errand_that_makes_no_sense_or_comes_too_late_harms_nobody(self, site: Site) -> None:
        agent = await connected(site.a)
        for content in (b"", b"\xff\n", b"n1\n\xff", b"n1\n", b"n2\n", b"n1"):
            site.a.sessions.errand(content)
        welcome = pb.ControlMessage(welcome=pb.Welcome(session_epoch=9))
        site.a.sessions.errand(b"n1\n" + welcome.SerializeToString())
        stranger = pb.DesiredBatch()
        stranger.allowed_removals.add(instance="nodes/n2/instances/r1")
        message = pb.ControlMessage(session_epoch=agent.epoch, desired_batch=stranger)
        site.a.sessions.errand(b"n1\n" + message.SerializeToString())
        agent.say(heartbeat=pb.Heartbeat())
        await agent.hear("heartbeat_ack")
        assert [each.WhichOneof("body") for each in agent.heard] == ["welcome", "heartbeat_ack"]
        await agent.hang_up()


class TestLogsOfANodeThatIsElsewhere:
    async def test_the_node_is_told_to_which_replica_to_send_them(self, site: Site) -> None:
        agent = await connected(site.a, MANY)
        log = site.b.sessions.logs.read(N1, RuntimeId("r1"), 5, follow=True)
        reading = asyncio.get_running_loop().create_task(_next(log))
        request = (await agent.hear("log_request")).log_request
        assert (request.instance, request.grpc_address) == (R, "b:7443")
        pushed = _once(PushLogsRequest(subscription=request.subscription, data=b"line\n"))
        pushing = asyncio.get_running_loop().create_task(site.b.sessions.logs.push(N1, pushed))
        assert await reading == LogChunk(0, b"line\n", 0)
        assert [chunk async for chunk in log] == []
        await pushing
        await agent.hang_up()

    async def test_they_ride_the_streams_own_channel_when_it_is_here(self, site: Site) -> None:
        agent = await connected(site.a, MANY)
        reading = asyncio.get_running_loop().create_task(_first(site.a))
        assert (await agent.hear("log_request")).log_request.grpc_address == ""
        reading.cancel()
        await agent.hang_up()

    async def test_an_older_agent_is_not_asked_for_them(self, site: Site) -> None:
        agent = await connected(site.a)
        reading = asyncio.get_running_loop().create_task(_first(site.b))
        await asyncio.sleep(0)
        agent.say(heartbeat=pb.Heartbeat())
        await agent.hear("heartbeat_ack")
        assert not agent.bodies("log_request")
        reading.cancel()
        await agent.hang_up()

    async def test_their_reader_hears_when_the_node_leaves_the_other_replica(self, site: Site) -> None:
        async with site.hubs.running("a", "b"):
            agent = await connected(site.a, MANY)
            log = site.b.sessions.logs.read(N1, RuntimeId("r1"), 5, follow=True)
            reading = asyncio.get_running_loop().create_task(_next(log))
            request = (await agent.hear("log_request")).log_request
            pushed = _open_ended(PushLogsRequest(subscription=request.subscription))
            pushing = asyncio.get_running_loop().create_task(site.b.sessions.logs.push(N1, pushed))
            await reading
            agent.say(goodbye=pb.Goodbye(kind=pb.GOODBYE_KIND_SHUTDOWN))
            await agent.until(lambda: agent.over)
            site.a.tell()
            assert [chunk async for chunk in log] == []
            await pushing


class TestReplicasThatComeAndGo:
    async def test_every_node_that_understands_it_is_told(self, site: Site) -> None:
        agent = await connected(site.a, MANY)
        welcomed = (await agent.hear("welcome")).welcome.replicas
        assert [each.grpc_address for each in welcomed] == ["a:7443", "b:7443"]
        site.hubs.add("c")
        site.a.sessions.replicas_changed()
        changed = (await agent.hear("replicas_changed")).replicas_changed
        assert [each.relay_address for each in changed.replicas] == ["a:7445", "b:7445", "c:7445"]
        assert changed.parked_connections == 2
        await agent.hang_up()

    async def test_an_older_agent_is_not_told(self, site: Site) -> None:
        agent = await connected(site.a)
        site.a.sessions.replicas_changed()
        agent.say(heartbeat=pb.Heartbeat())
        await agent.hear("heartbeat_ack")
        assert not agent.bodies("replicas_changed")
        await agent.hang_up()

    async def test_a_replica_that_steps_aside_sends_its_nodes_away_until_it_comes_back(self, site: Site) -> None:
        agent = await connected(site.a)
        for _ in range(2):
            site.a.sessions.step_aside()
        notice = (await agent.hear("drain_notice")).drain_notice
        assert notice.reconnect_within.ToTimedelta().total_seconds() == 5
        late = PlainAgent("n1")
        with pytest.raises(Draining, match="lost its database"):
            await late.open(site.a)
        assert not agent.over
        site.a.sessions.come_back()
        await late.open(site.a)
        assert len(agent.bodies("drain_notice")) == 1
        await late.hang_up()

    async def test_five_hundred_drained_nodes_move_to_the_other_replica(self, site: Site) -> None:
        names = [f"node-{number}" for number in range(500)]
        await site.hubs.join(*names)
        agents = [PlainAgent(name) for name in names]
        async with site.hubs.running("a", "b"):
            for agent in agents:
                await agent.open(site.a)
            within = site.a.sessions.drain()
            assert within.total_seconds() == 5
            for agent in agents:
                await agent.hear("drain_notice")
                with pytest.raises(Draining):
                    await PlainAgent(agent.node).open(site.a)
                await agent.hang_up()
                await agent.open(site.b)
            await site.a.sessions.left(within)
            assert (len(site.a.sessions), len(site.b.sessions)) == (0, 500)
            for agent in agents:
                assert agent.epoch == 2
                await agent.hang_up()


async def _next(log: AsyncIterator[LogChunk]) -> LogChunk:
    return await anext(log)


async def _first(hub: Hub) -> LogChunk:
    return await anext(hub.sessions.logs.read(N1, RuntimeId("r1"), 5, follow=True))


async def _once(message: PushLogsRequest) -> AsyncIterator[PushLogsRequest]:
    yield message


async def _open_ended(message: PushLogsRequest) -> AsyncIterator[PushLogsRequest]:
    yield message
    await asyncio.Event().wait()
