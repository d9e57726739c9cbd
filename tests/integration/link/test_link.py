"""The link over real mutual TLS, against a control plane that does what a test says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from arw.v1 import problem_pb2, runtime_pb2
from arw.v1 import session_pb2 as pb
from control_plane.domain.errors import CertificateRevoked
from node_agent.control_link.connection import Addresses, Link, LinkTimers, Node
from node_agent.control_link.display import Display
from node_agent.control_link.ports import LinkState
from node_agent.identity.credentials import NodeCredentials
from node_agent.identity.files import IdentityFiles
from tests.fakes.agent_bench import ME, MemoryDesired, a_spec, is_running, name_of
from tests.fakes.agent_parts import EndlessLog, FixedInventory, NotedBoard, NotedRelay, QuietSupervisor
from tests.fakes.agent_port import AgentPort, seconds, serving
from tests.fakes.certificates import Issuer
from tests.fakes.patience import SLACK

SOON = timedelta(milliseconds=100)
TIMERS = LinkTimers(reconnect_cap=SOON, refused_retry=timedelta(hours=1), diagnose_every=timedelta())


@dataclass(slots=True)
class Agent:
    supervisor: QuietSupervisor = field(default_factory=QuietSupervisor)
    desired: MemoryDesired = field(default_factory=MemoryDesired)
    logs: EndlessLog = field(default_factory=EndlessLog)
    relay: NotedRelay = field(default_factory=NotedRelay)
    board: NotedBoard = field(default_factory=NotedBoard)
    accepted: str = ""
    running: asyncio.Task[None] | None = None
    """While it is linked."""

    @asynccontextmanager
    async def linked(self, files: IdentityFiles, addresses: tuple[str, str]) -> AsyncIterator[Link]:
        credentials = NodeCredentials(files, lambda: datetime.now(UTC))
        node = Node(ME, FixedInventory(), self.supervisor, self.desired, self.logs, self.relay, credentials)
        display = Display(self.board, lambda: datetime.now(UTC))
        link = Link(
            node,
            Addresses(*addresses),
            display,
            TIMERS,
            chance=lambda: 0.5,
            clock=time.monotonic,
            accepted_history=lambda: self.accepted,
        )
        self.running = task = asyncio.get_running_loop().create_task(link.run())
        try:
            yield link
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture
async def agent() -> Agent:
    return Agent()


def a_batch(nonce: int, runtime: str, revision: int) -> pb.ControlMessage:
    resource = pb.DesiredResource(name=name_of(runtime), generation=1, revision=revision)
    resource.instance.runtime.adapter = "llama.cpp"
    resource.instance.desired_state = runtime_pb2.DESIRED_STATE_RUNNING
    batch = pb.DesiredBatch(nonce=nonce, snapshot=True, last_chunk=True, to_revision=revision, resources=[resource])
    return pb.ControlMessage(desired_batch=batch)


def refusal(reason: problem_pb2.Reason.ValueType, text: str, retry_after: float | None = None) -> pb.Refusal:
    problem = problem_pb2.Problem(reason=reason, text=text, remedy="Ask an operator.")
    return pb.Refusal(problem=problem, retry_after=seconds(retry_after) if retry_after is not None else None)


async def test_what_is_wanted_is_stored_started_and_reported(
    agent: Agent, port: AgentPort, files: IdentityFiles
) -> None:
    async with serving(port) as addresses, agent.linked(files, addresses):
        await port.until(lambda: bool(port.bodies("heartbeat")))
        port.say(a_batch(1, "a", 3))
        await port.until(lambda: bool(port.bodies("desired_ack")))
        agent.supervisor.change(is_running("a"))
        await port.until(lambda: len(port.bodies("observed_report")) == 2)
        await agent.board.until(LinkState.IN_SYNC)
    assert port.heard[0].hello.node == "nodes/n1"
    assert port.bodies("desired_ack")[0].desired_ack.desired_revision == 3
    assert [spec.name for spec in agent.supervisor.desired] == [name_of("a")]
    assert [message.seq for message in port.heard] == list(range(1, len(port.heard) + 1))
    assert agent.relay.configured == [(1, (), 0)]


async def test_the_first_report_waits_until_engines_are_taken_over(
    agent: Agent, port: AgentPort, files: IdentityFiles
) -> None:
    agent.supervisor.adopting = asyncio.Event()
    async with serving(port) as addresses, agent.linked(files, addresses):
        await port.until(lambda: len(port.bodies("heartbeat")) >= 3)
        assert port.bodies("observed_report") == []
        agent.supervisor.change(is_running("a"))
        agent.supervisor.adopting.set()
        await port.until(lambda: bool(port.bodies("observed_report")))
    report = port.bodies("observed_report")[0].observed_report
    assert report.full
    assert [instance.name for instance in report.instances] == [name_of("a")]


async def test_what_cannot_be_said_ends_the_agent_instead_of_its_stream_alone(
    agent: Agent, port: AgentPort, files: IdentityFiles
) -> None:
    nonsense = replace(is_running("a"), summary="\udcff is no character")
    with pytest.raises(ExceptionGroup) as raised:
        async with serving(port) as addresses, agent.linked(files, addresses):
            await port.until(lambda: bool(port.bodies("heartbeat")))
            agent.supervisor.change(nonsense)
            assert agent.running
            await asyncio.wait({agent.running})
    assert raised.group_contains(UnicodeEncodeError)


async def test_what_is_stored_is_wanted_before_anyone_answers(
    agent: Agent, port: AgentPort, files: IdentityFiles
) -> None:
    agent.desired = MemoryDesired("history-1", 5, {name_of("a"): a_spec("a", 5)})
    async with serving(port) as addresses:
        pass
    async with agent.linked(files, addresses):
        status = await agent.board.until(LinkState.DISCONNECTED)
    assert [spec.name for spec in agent.supervisor.desired] == [name_of("a")]
    assert status.problem is not None
    assert "cannot be reached" in status.problem.text


async def test_the_agent_comes_back_after_the_control_plane_was_killed(
    agent: Agent, port: AgentPort, files: IdentityFiles
) -> None:
    async with AsyncExitStack() as life:
        async with serving(port) as addresses:
            await life.enter_async_context(agent.linked(files, addresses))
            await port.until(lambda: bool(port.bodies("observed_report")))
        await agent.board.until(LinkState.DISCONNECTED)
        async with serving(port, addresses[0]):
            await port.until(lambda: len(port.bodies("observed_report")) == 2)
            await agent.board.until(LinkState.SYNCING)
    assert [report.observed_report.full for report in port.bodies("observed_report")] == [True, True]


async def test_unanswered_heartbeats_make_a_new_stream(agent: Agent, port: AgentPort, files: IdentityFiles) -> None:
    port.script.silent = True
    async with serving(port) as addresses, agent.linked(files, addresses):
        await port.until(lambda: len(port.bodies("hello")) == 2)
    assert len(port.bodies("heartbeat")) >= 2


async def test_a_revoked_node_stops_trying_until_it_is_told_to(
    agent: Agent, port: AgentPort, files: IdentityFiles
) -> None:
    port.script.refuse = refusal(problem_pb2.REASON_CERTIFICATE_REVOKED, "Node n1 was revoked.")
    async with serving(port) as addresses, agent.linked(files, addresses) as link:
        status = await agent.board.until(LinkState.REFUSED)
        assert status.problem is not None
        assert (status.problem.reason, status.problem.remedy) == ("CERTIFICATE_REVOKED", "Ask an operator.")
        await asyncio.sleep(0.5)
        assert len(port.bodies("hello")) == 1
        port.script.refuse = None
        link.wake()
        await agent.board.until(LinkState.SYNCING)


async def test_a_typed_status_at_connect_also_stops_the_trying(
    agent: Agent, port: AgentPort, files: IdentityFiles
) -> None:
    port.script.status = CertificateRevoked("Node n1 was revoked.", "Make a new token.")
    async with serving(port) as addresses, agent.linked(files, addresses):
        status = await agent.board.until(LinkState.REFUSED)
    assert status.problem is not None
    assert (status.problem.reason, status.problem.remedy) == ("CERTIFICATE_REVOKED", "Make a new token.")


async def test_a_refusal_with_a_delay_is_followed(agent: Agent, port: AgentPort, files: IdentityFiles) -> None:
    port.script.refuse = refusal(problem_pb2.REASON_DRAINING, "It stops.", 0.2)
    async with serving(port) as addresses, agent.linked(files, addresses):
        await port.until(lambda: len(port.bodies("hello")) == 3)


async def test_a_drain_is_followed_by_a_new_stream(agent: Agent, port: AgentPort, files: IdentityFiles) -> None:
    async with serving(port) as addresses, agent.linked(files, addresses):
        await port.until(lambda: bool(port.bodies("heartbeat")))
        port.say(pb.ControlMessage(drain_notice=pb.DrainNotice(reconnect_within=seconds(0.2))))
        await port.until(lambda: len(port.bodies("hello")) == 2)


async def test_goodbye_is_the_last_word(agent: Agent, port: AgentPort, files: IdentityFiles) -> None:
    async with serving(port) as addresses, agent.linked(files, addresses) as link:
        await port.until(lambda: bool(port.bodies("heartbeat")))
        await link.say_goodbye()
        await port.until(lambda: bool(port.bodies("goodbye")))
    assert port.heard[-1].goodbye.kind == pb.GOODBYE_KIND_RESTART


async def test_a_renewed_certificate_is_taken_once_it_was_welcomed(
    agent: Agent, port: AgentPort, files: IdentityFiles, issuer: Issuer
) -> None:
    async with serving(port) as addresses, agent.linked(files, addresses) as link:
        await agent.board.until(LinkState.SYNCING)
        files.write_candidate(*issuer.node("n1"), issuer.ca_pem)
        candidate = files.candidate()
        assert candidate is not None
        link.reconnect()
        await port.until(lambda: len(port.bodies("heartbeat")) > 1 and len(port.serials) > 1)
    assert port.serials[-1] == candidate.leaf.serial_number
    assert files.current().leaf.serial_number == candidate.leaf.serial_number
    assert files.candidate() is None


async def test_a_refused_candidate_falls_back_to_the_certificate_in_use(
    agent: Agent, port: AgentPort, files: IdentityFiles, issuer: Issuer
) -> None:
    files.write_candidate(*issuer.node("n1"), issuer.ca_pem)
    candidate = files.candidate()
    assert candidate is not None
    port.script.refused_serials = {candidate.leaf.serial_number}
    async with serving(port) as addresses, agent.linked(files, addresses):
        await agent.board.until(LinkState.SYNCING)
    assert port.serials == [candidate.leaf.serial_number, files.current().leaf.serial_number]
    assert files.candidate() is None


async def test_a_log_is_pushed_until_the_control_plane_has_enough(
    agent: Agent, port: AgentPort, files: IdentityFiles
) -> None:
    async with serving(port) as addresses, agent.linked(files, addresses):
        await port.until(lambda: bool(port.bodies("heartbeat")))
        request = pb.LogRequest(subscription="s1", instance=name_of("a"), tail_lines=5, follow=True)
        port.say(pb.ControlMessage(log_request=request))
        await port.until(lambda: len(port.logs) == 3)
        port.end_logs.set()
        async with asyncio.timeout(5 * SLACK):
            await agent.logs.stopped.wait()
    assert [message.subscription for message in port.logs] == ["s1", "", ""]
    assert b"".join(message.data for message in port.logs) == f"{name_of('a')} 5\nmore\n".encode()
    assert port.logs[-1].dropped_bytes == 7


async def test_an_ended_log_ends_the_call(agent: Agent, port: AgentPort, files: IdentityFiles) -> None:
    async with serving(port) as addresses, agent.linked(files, addresses):
        await port.until(lambda: bool(port.bodies("heartbeat")))
        port.say(pb.ControlMessage(log_request=pb.LogRequest(subscription="s1", instance=name_of("a"))))
        async with asyncio.timeout(5 * SLACK):
            await port.log_call_over.wait()


async def test_a_request_to_ask_an_engine_is_answered_by_a_report(
    agent: Agent, port: AgentPort, files: IdentityFiles
) -> None:
    async with serving(port) as addresses, agent.linked(files, addresses):
        await port.until(lambda: bool(port.bodies("heartbeat")))
        assert "instances.probe/1" in port.heard[0].hello.capabilities
        port.say(pb.ControlMessage(probe_instance=pb.ProbeInstance(request="j1", instance=name_of("a"))))
        await port.until(lambda: agent.supervisor.probes == [(name_of("a"), "j1")])
        agent.supervisor.change(replace(is_running("a"), answered_probes=("j1",)))
        await port.until(lambda: any(report.observed_report.instances for report in port.bodies("observed_report")))
    (answer,) = port.bodies("observed_report")[-1].observed_report.instances
    assert (answer.name, list(answer.answered_probes)) == (name_of("a"), ["j1"])


class TestWhyTheControlPlaneDoesNotLetUsIn:
    """TLS says the same for all of these; the status must not."""

    async def test_our_own_certificate_is_over(
        self, agent: Agent, port: AgentPort, files: IdentityFiles, issuer: Issuer
    ) -> None:
        long_ago = datetime.now(UTC) - timedelta(days=3)
        files.write(issuer.identity, *issuer.node("n1", long_ago), issuer.ca_pem)
        async with serving(port) as addresses, agent.linked(files, addresses):
            status = await agent.board.until(LinkState.CERTIFICATE_EXPIRED)
        assert status.problem is not None
        assert "expired" in status.problem.text
        assert not port.heard

    async def test_the_control_plane_knows_something_against_it(
        self, agent: Agent, port: AgentPort, files: IdentityFiles
    ) -> None:
        """Its mutual-TLS port is closed to us; its enrolment port tells why."""
        port.script.diagnosis = problem_pb2.Problem(
            reason=problem_pb2.REASON_CERTIFICATE_UNKNOWN, text="No such certificate.", remedy="Join again."
        )
        async with serving(port) as (_, enrollment), agent.linked(files, ("127.0.0.1:1", enrollment)):
            status = await agent.board.until(LinkState.REFUSED)
        assert status.problem is not None
        assert status.problem.reason == "CERTIFICATE_UNKNOWN"

    async def test_only_the_port_is_closed(self, agent: Agent, port: AgentPort, files: IdentityFiles) -> None:
        async with serving(port) as (_, enrollment), agent.linked(files, ("127.0.0.1:1", enrollment)):
            status = await agent.board.until(LinkState.DISCONNECTED)
        assert status.problem is not None
        assert "The certificate is good" in status.problem.text

    async def test_another_authority_runs_there_now(self, agent: Agent, port: AgentPort, files: IdentityFiles) -> None:
        async with serving(AgentPort(Issuer.make())) as addresses, agent.linked(files, addresses):
            status = await agent.board.until(LinkState.DISCONNECTED)
        assert status.problem is not None
        assert "another authority" in status.problem.text
