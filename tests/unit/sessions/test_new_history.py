"""Streams that are open while the store begins a new history."""

from __future__ import annotations

from arw.v1 import session_pb2 as pb
from control_plane.use_cases.lost_history import JUMP, begin_anew
from tests.fakes.clock import NOON
from tests.fakes.hubs import Hubs, PlainAgent


async def test_f29_every_stream_of_the_history_before_ends_and_the_node_is_told_of_the_new_one() -> None:
    hubs = Hubs()
    await hubs.join("n1", "n2")
    hub, other = hubs.add("a"), hubs.add("b")
    agents = [PlainAgent("n1"), PlainAgent("n2")]
    async with hubs.running("a", "b"):
        for agent, at in zip(agents, (hub, other), strict=True):
            await agent.open(at)
            await agent.hear("desired_batch")
        await hubs.store.write(lambda tx: begin_anew(tx, tx.revision() + 1, NOON))
        history = await hubs.store.read(lambda tx: tx.history_id())
        for agent in agents:
            # Either way it connects again by itself; nothing of the new history was said in the old one.
            assert await agent.why() in ("UNAVAILABLE", "SESSION_SUPERSEDED")
            assert all(message.desired_batch.to_revision < JUMP for message in agent.bodies("desired_batch"))
            await agent.open(hub)
            welcome = (await agent.hear("welcome")).welcome
            assert welcome.history_id == history
            assert welcome.session_epoch == JUMP + 2
            assert (await agent.hear("desired_batch")).desired_batch.snapshot
        for agent in agents:
            await agent.hang_up()


async def test_f29_what_a_hello_knows_beyond_the_database_makes_it_begin_anew() -> None:
    hubs, agent = Hubs(), PlainAgent("n1")
    await hubs.join("n1")
    history, revision = await hubs.store.read(lambda tx: (tx.history_id(), tx.revision()))
    hub = hubs.add("a")
    async with hubs.running("a"):
        agent.dial(hub)
        hello = pb.Hello(node="nodes/n1", process_id="p1", installation_id="i1", protocol_min=1, protocol_max=1)
        hello.history_id, hello.desired_revision = history, revision + 3
        agent.say(hello=hello)
        welcome = (await agent.hear("welcome")).welcome
        assert welcome.history_id not in ("", history)
        assert welcome.session_epoch == JUMP + 1
        agent.epoch = welcome.session_epoch
        assert (await agent.hear("desired_batch")).desired_batch.snapshot
        await agent.hang_up()
