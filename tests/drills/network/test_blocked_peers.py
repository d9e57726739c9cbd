"""Peers whose loops stand still although their sockets are well."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass, field
from datetime import timedelta

import grpc
import psutil
import pytest

from arw.v1.node_service_pb2 import CreateJoinTokenRequest, ListNodesRequest
from arw.v1.node_service_pb2_grpc import NodeServiceStub
from tests.fakes.linked import linked, node_turns
from tests.fakes.processes import until
from tests.fakes.proxied_site import ProxiedSite
from tests.fakes.scripted_agent import Credentials, ScriptedAgent, credentials_of, enrol
from wire.channel import OPTIONS
from wire.credentials import CONTROL_PLANE_NAME
from wire.error_status import refusal_of

pytestmark = pytest.mark.timeout(120)
BLOCK_S = 5.0
STALLED = 100
ROUNDS = 4
MIB = 1024 * 1024
MOST_EACH = 2.0
"""MiB that a stalled stream costs with a hundred KiB of desired state, its TLS and its share of the heap."""


def test_f18_a_control_plane_that_stood_still_blames_no_node_for_its_own_sleep(serving: ProxiedSite) -> None:
    """It sleeps longer than the lease, so its agents have left and come back in their own time."""
    turns, engine = serving.node_turns(), serving.starts
    assert serving.plane.process
    for _ in range(2):
        serving.plane.process.send_signal(signal.SIGSTOP)
        time.sleep(BLOCK_S)
        serving.plane.process.send_signal(signal.SIGCONT)
        serving.agent.until_link("in_sync")
        time.sleep(2)
    serving.agent.until_link("in_sync")
    assert serving.node_turns() == turns
    assert serving.starts == engine


async def test_f18_agents_keep_their_sessions_while_pings_are_answered() -> None:
    async with linked(heartbeat=timedelta(seconds=BLOCK_S * 0.6)) as (plane, agent):
        epoch, turns = agent.link()["session_epoch"], await node_turns(plane)
        time.sleep(BLOCK_S)  # noqa: ASYNC251 - the blocked loop is what this is about
        await asyncio.sleep(3)
        assert (agent.link()["state"], agent.link()["session_epoch"]) == ("in_sync", epoch)
        assert await node_turns(plane) == turns


class Plain(Credentials):
    """Without interceptors, which keep a cancelled call and its connection for the garbage collector."""

    def channel(self) -> grpc.aio.Channel:
        options = (*OPTIONS, ("grpc.ssl_target_name_override", CONTROL_PLANE_NAME))
        tls = grpc.ssl_channel_credentials(self.ca, self.key, self.chain)
        return grpc.aio.secure_channel(self.address, tls, options)


@dataclass(slots=True)
class Herd:
    """Scripted agents that greet, and then never read again."""

    site: ProxiedSite
    operator: grpc.aio.Channel
    credentials: list[Credentials] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.site.ports['grpc']}"

    async def enrol(self, count: int) -> None:
        enrollment, ca = f"127.0.0.1:{self.site.ports['enrollment']}", self.site.ca_pem
        for number in range(count):
            token = await NodeServiceStub(self.operator).CreateJoinToken(CreateJoinTokenRequest())
            answer, key = await enrol(enrollment, ca, token.secret_text, f"stalled-{number:03}")
            made = credentials_of(answer, key)
            self.credentials.append(Plain(made.node, made.key, made.chain, made.ca, self.address))

    async def place(self) -> None:
        """Six runtimes of sixteen KiB for each: more than a stream's window takes unread."""
        agents = [ScriptedAgent(credentials) for credentials in self.credentials]
        await asyncio.gather(*(agent.open() for agent in agents))
        names = [f"r{number:03}" for number in range(6 * STALLED)]
        await asyncio.to_thread(self.site.declare, *names, auto_start=False, tags=64)
        await asyncio.gather(*(agent.hang_up() for agent in agents))

    async def stall(self) -> set[str]:
        """All connect at once and read nothing until the control plane closed them; the reasons it gave."""
        agents = [ScriptedAgent(credentials) for credentials in self.credentials]
        await asyncio.gather(*(agent.open() for agent in agents))
        await asyncio.sleep(5)
        endings = await asyncio.gather(*(agent.ended() for agent in agents))
        await asyncio.gather(*(agent.hang_up() for agent in agents))
        return {refusal_of(ending).remote_reason if ending else "still open" for ending in endings}


@pytest.mark.alone
async def test_f17_agents_that_never_read_are_closed_and_cost_the_control_plane_nothing_lasting(
    site: ProxiedSite,
) -> None:
    assert site.plane.process
    plane = psutil.Process(site.plane.process.pid)
    async with site.operator() as operator:
        herd = Herd(site, operator)
        await herd.enrol(STALLED)
        await herd.place()
        sizes = [plane.memory_info().rss / MIB]
        for _ in range(ROUNDS):
            assert await herd.stall() == {"UNAVAILABLE"}
            sizes.append(plane.memory_info().rss / MIB)
            # Others are served meanwhile.
            await NodeServiceStub(operator).ListNodes(ListNodesRequest(), timeout=2)
    _, first, *later = sizes
    assert first - sizes[0] < STALLED * MOST_EACH, sizes
    # One round holds more than this; what is kept of each would show.
    assert max(later) - first < 64, sizes
    until(lambda: plane.num_fds() < STALLED)
