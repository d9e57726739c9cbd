"""The link with several replicas of the control plane, over real mutual TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from arw.v1 import problem_pb2
from arw.v1 import session_pb2 as pb
from node_agent.control_link.messages import Replica
from node_agent.control_link.ports import LinkState
from node_agent.identity.files import IdentityFiles
from tests.fakes.agent_bench import name_of
from tests.fakes.agent_port import AgentPort, seconds, serving
from tests.fakes.certificates import Issuer
from tests.integration.link.test_link import Agent


@dataclass(slots=True)
class Two:
    """Two replicas; each names both."""

    first: AgentPort
    second: AgentPort
    addresses: list[str]
    enrollment: str
    lives: dict[str, AsyncExitStack] = field(default_factory=dict)

    @property
    def configured(self) -> tuple[str, str]:
        """An agent that joined at the first."""
        return self.addresses[0], self.enrollment

    async def kill(self, address: str) -> None:
        await self.lives.pop(address).aclose()


@pytest.fixture
async def two(port: AgentPort, issuer: Issuer) -> AsyncIterator[Two]:
    second = AgentPort(issuer)
    made = Two(port, second, [], "")
    async with AsyncExitStack() as stack:
        for each in (port, second):
            life = await stack.enter_async_context(AsyncExitStack())
            address, made.enrollment = await life.enter_async_context(serving(each))
            made.addresses.append(address)
            made.lives[address] = life
        port.script.replicas, second.script.replicas = made.addresses, made.addresses[::-1]
        yield made


@pytest.fixture
async def agent() -> Agent:
    return Agent()


async def settled(port: AgentPort) -> None:
    await port.until(lambda: len(port.bodies("heartbeat")) >= 2)


async def test_an_agent_goes_to_the_other_replica_when_its_own_is_killed(
    agent: Agent, two: Two, files: IdentityFiles
) -> None:
    async with agent.linked(files, two.configured):
        await settled(two.first)
        assert not two.second.heard
        await two.kill(two.addresses[0])
        await settled(two.second)
    assert len(two.second.bodies("hello")) == 1
    assert LinkState.REFUSED not in [status.state for status in agent.board.shown]


async def test_an_agent_tries_each_replica_that_is_left(agent: Agent, two: Two, files: IdentityFiles) -> None:
    two.first.script.replicas = [two.addresses[0], "127.0.0.1:1", "127.0.0.1:2", two.addresses[1]]
    async with agent.linked(files, two.configured):
        await settled(two.first)
        await two.kill(two.addresses[0])
        await settled(two.second)


async def test_drained_agents_go_to_another_replica(agent: Agent, two: Two, files: IdentityFiles) -> None:
    async with agent.linked(files, two.configured):
        await settled(two.first)
        two.first.say(pb.ControlMessage(drain_notice=pb.DrainNotice(reconnect_within=seconds(0.2))))
        await settled(two.second)
    assert len(two.first.bodies("hello")) == 1


async def test_a_replica_that_lets_nobody_in_sends_its_agents_to_another_at_once(
    agent: Agent, two: Two, files: IdentityFiles
) -> None:
    async with agent.linked(files, two.configured):
        await settled(two.first)
        problem = problem_pb2.Problem(reason=problem_pb2.REASON_STORAGE_UNAVAILABLE, text="The database is away.")
        two.first.say(pb.ControlMessage(refusal=pb.Refusal(problem=problem, retry_after=seconds(3600))))
        await settled(two.second)


async def test_an_agent_comes_back_to_the_replica_it_was_configured_with_when_no_other_is_left(
    agent: Agent, two: Two, files: IdentityFiles
) -> None:
    two.first.script.replicas, two.second.script.replicas = [two.addresses[1]], [two.addresses[1]]
    async with agent.linked(files, two.configured):
        await settled(two.first)
        two.first.say(pb.ControlMessage(drain_notice=pb.DrainNotice(reconnect_within=seconds(0.1))))
        await settled(two.second)
        await two.kill(two.addresses[1])
        await two.first.until(lambda: len(two.first.bodies("hello")) == 2)


async def test_a_renewed_certificate_is_no_reason_to_go_elsewhere(agent: Agent, two: Two, files: IdentityFiles) -> None:
    async with agent.linked(files, two.configured) as link:
        await settled(two.first)
        link.reconnect()
        await two.first.until(lambda: len(two.first.bodies("hello")) == 2)
    assert not two.second.heard


async def test_a_new_list_of_replicas_moves_the_parked_connections_and_no_stream(
    agent: Agent, two: Two, files: IdentityFiles
) -> None:
    async with agent.linked(files, two.configured):
        await settled(two.first)
        replicas = [pb.Replica(grpc_address=address, relay_address=f"{address}0") for address in two.addresses]
        changed = pb.ReplicasChanged(replicas=replicas, parked_connections=3)
        two.first.say(pb.ControlMessage(replicas_changed=changed))
        asked = pb.ParkConnections(idle_connections=9, relay_address="there:7445")
        two.first.say(pb.ControlMessage(park_connections=asked))
        heard = len(two.first.heard)
        await two.first.until(lambda: len(two.first.heard) >= heard + 2)
    assert agent.relay.configured[-1] == (1, tuple(Replica(each, f"{each}0") for each in two.addresses), 3)
    assert agent.relay.parked == [(9, "there:7445")]
    assert len(two.first.bodies("hello")) == 1


async def test_a_log_goes_to_the_replica_that_reads_it(agent: Agent, two: Two, files: IdentityFiles) -> None:
    async with agent.linked(files, two.configured):
        await settled(two.first)
        request = pb.LogRequest(
            subscription="s1", instance=name_of("a"), tail_lines=5, follow=True, grpc_address=two.addresses[1]
        )
        two.first.say(pb.ControlMessage(log_request=request))
        await two.second.until(lambda: len(two.second.logs) == 3)
        two.second.end_logs.set()
        await agent.logs.stopped.wait()
    assert two.second.logs[0].subscription == "s1"
    assert not two.first.logs
    assert not two.second.heard


async def test_a_log_for_a_replica_that_is_gone_costs_the_stream_nothing(
    agent: Agent, two: Two, files: IdentityFiles
) -> None:
    async with agent.linked(files, two.configured):
        await settled(two.first)
        await two.kill(two.addresses[1])
        request = pb.LogRequest(subscription="s1", instance=name_of("a"), grpc_address=two.addresses[1])
        two.first.say(pb.ControlMessage(log_request=request))
        heard = len(two.first.heard)
        await two.first.until(lambda: len(two.first.heard) >= heard + 4)
    assert len(two.first.bodies("hello")) == 1
