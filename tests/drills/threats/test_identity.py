"""Stolen, banned and broken identities, and what a person is told about them."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from arw.v1 import problem_pb2
from arw.v1.agent_service_pb2 import PushLogsRequest
from arw.v1.agent_service_pb2_grpc import AgentServiceStub
from arw.v1.node_service_pb2 import RevokeNodeRequest
from arw.v1.runtime_service_pb2 import StreamLogsRequest
from control_plane.domain.ids import NodeId
from control_plane.trust.authority import EmbeddedAuthority, Lifetimes
from node_agent.identity.files import Certificate, IdentityFiles, NodeIdentity
from tests.fakes.certificates import Issuer
from tests.fakes.clock import FakeClock
from tests.fakes.processes import environment, until
from tests.fakes.proxied_site import ProxiedSite, new_site
from tests.fakes.running_plane import RunningPlane
from wire.credentials import certificate_pem, csr_der, key_pem, new_key

pytestmark = pytest.mark.timeout(90)


async def test_t19_a_revoked_node_loses_every_open_stream(plane: RunningPlane) -> None:
    """The control stream, and the call by which it sends a log."""
    agent = await plane.agent("n1")
    await agent.ack(await agent.hear_batch())
    await plane.declare("r1")
    await agent.ack(await agent.hear_batch())
    reading = plane.runtimes.StreamLogs(StreamLogsRequest(name="r1", follow=True))
    asked = (await agent.hear("log_request")).log_request
    async with agent.credentials.channel() as channel:
        push = AgentServiceStub(channel).PushLogs()
        await push.write(PushLogsRequest(subscription=asked.subscription, incarnation=1, data=b"hello"))
        assert (await reading.read()).data == b"hello"
        async with asyncio.timeout(2):
            await plane.nodes.RevokeNode(RevokeNodeRequest(name="nodes/n1"))
            refusal = await agent.refusal()
            await push.code()
        assert refusal.problem.reason == problem_pb2.REASON_CERTIFICATE_REVOKED
    reading.cancel()
    await agent.hang_up()


@dataclass(slots=True)
class Troubled:
    """A joined node whose identity is swapped; its agent then says what is wrong."""

    site: ProxiedSite
    files: IdentityFiles
    good: Certificate
    identity: NodeIdentity

    @classmethod
    def of(cls, site: ProxiedSite) -> Troubled:
        files = IdentityFiles(site.folder / "node_agent")
        return cls(site, files, files.current(), files.identity())

    def says(self, key_and_chain: tuple[bytes, bytes] | None = None, **addresses: Any) -> tuple[str, str]:
        """The state of the link and the words of its problem."""
        key, chain = key_and_chain or (self.good.key_pem, self.good.chain_pem)
        self.files.write(replace(self.identity, **addresses), key, chain, self.site.ca_pem)
        self.site.agent.start()
        try:
            link = until(lambda: self._troubled(self.site.agent.link()))
        finally:
            self.site.agent.end()
        (self.site.folder / "node_agent" / "link.json").unlink()
        return link["state"], link["problem"]["text"]

    def issued(self, start: timedelta) -> tuple[bytes, bytes]:
        """Of the control plane's own CA, for a day that begins so much later than now."""
        clock = FakeClock(datetime.now(UTC) + start)
        authority = EmbeddedAuthority.open(self.site.folder / "control_plane", clock, Lifetimes())
        key = new_key()
        return key_pem(key), certificate_pem(authority.issue_node(csr_der(key), NodeId("n1")).chain)

    def _troubled(self, link: Any) -> Any:
        return link if link.get("problem") else None


def a_closed_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


def test_t20_each_failure_of_tls_is_told_by_its_own_cause() -> None:
    with new_site() as site, new_site() as elsewhere:
        node = Troubled.of(site)
        state, text = node.says(node.issued(-timedelta(days=3)))
        assert (state, "expired at" in text) == ("certificate_expired", True)

        state, text = node.says(node.issued(timedelta(days=3)))
        assert (state, "counts only from" in text, "clock" in text) == ("disconnected", True, True)

        stranger = Issuer.make()
        state, text = node.says(stranger.node("n1"))
        assert (state, "not issued to a node by this control plane" in text) == ("refused", True)

        enrollment, grpc_port = (f"127.0.0.1:{elsewhere.ports[name]}" for name in ("enrollment", "grpc"))
        state, text = node.says(grpc_address=grpc_port, enrollment_address=enrollment)
        assert (state, "another authority" in text) == ("disconnected", True), text

        state, text = node.says(grpc_address=a_closed_port())
        assert (state, "The certificate is good, but" in text) == ("disconnected", True)

        state, text = node.says(grpc_address=a_closed_port(), enrollment_address=a_closed_port())
        assert (state, "cannot be reached" in text) == ("disconnected", True)


def test_t20_no_option_turns_tls_off() -> None:
    for program in ("control_plane.main", "node_agent.main"):
        for command in ("", "run", "join", "init"):
            words = [sys.executable, "-m", program, *([command] if command else []), "--help"]
            said = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=30, check=False)
            assert "insecure" not in said.stdout
            assert "no-tls" not in said.stdout
            assert "skip-verify" not in said.stdout
