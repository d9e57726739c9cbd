"""Claims on a node that is cut off, stopped or asked by others: who is served, who is not, and what ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration

from arw.v1 import claim_pb2
from arw.v1.claim_service_pb2 import (
    AcquireClaimRequest,
    GetClaimRequest,
    ListClaimsRequest,
    ReleaseClaimRequest,
    RevokeClaimRequest,
)
from arw.v1.claim_service_pb2_grpc import ClaimServiceStub
from arw.v1.instance_pb2 import INSTANCE_STATE_READY
from arw.v1.node_pb2 import NODE_STATE_OFFLINE
from arw.v1.project_service_pb2 import CreateProjectKeyRequest, CreateProjectRequest
from arw.v1.project_service_pb2_grpc import ProjectServiceStub
from node_agent.runtimes.process import start_ticks
from tests.fakes.processes import until
from tests.fakes.proxied_site import ProxiedSite, new_site

pytestmark = pytest.mark.timeout(120)
CHAT = json.dumps({"model": "r1", "messages": []})


@dataclass(slots=True)
class Holder:
    """Claims of an operator's own, and requests under them."""

    site: ProxiedSite
    stub: ClaimServiceStub = field(init=False)
    connections: list[http.client.HTTPConnection] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stub = ClaimServiceStub(self.site.channel)

    def takes(self, *, stop_after: timedelta | None = None) -> str:
        """The runtime for itself alone; returns once that is granted, or waits in line."""
        order = claim_pb2.RuntimeClaim(model_tag="r1", exclusive=True, ttl=Duration(seconds=600))
        if stop_after is not None:
            order.stop_after.FromTimedelta(stop_after)
        for answer in self.stub.AcquireClaim(AcquireClaimRequest(claim=order)):
            return str(answer.claim.id)
        raise AssertionError("not even asked for")

    def is_granted(self, claim: str) -> bool:
        answer = self.stub.GetClaim(GetClaimRequest(name=f"claims/{claim}"))
        return bool(answer.claim.state == claim_pb2.CLAIM_STATE_GRANTED)

    def releases(self, claim: str) -> None:
        self.stub.ReleaseClaim(ReleaseClaimRequest(name=f"claims/{claim}"))

    def loses(self, claim: str) -> None:
        self.stub.RevokeClaim(RevokeClaimRequest(name=f"claims/{claim}", why="a drill"))

    def token(self) -> str:
        return str(json.loads((self.site.folder / "context.json").read_text())["token"])

    def key_of(self, project: str) -> str:
        projects = ProjectServiceStub(self.site.channel)
        projects.CreateProject(CreateProjectRequest(project_id=project))
        made = projects.CreateProjectKey(CreateProjectKeyRequest(parent=f"projects/{project}"))
        return str(made.secret_text)

    def claims_of(self, project: str) -> list[claim_pb2.Claim]:
        return list(self.stub.ListClaims(ListClaimsRequest(project=f"projects/{project}")).claims)

    def asks(self, claim: str = "", key: str = "") -> http.client.HTTPResponse:
        """A stream that goes on until somebody cuts it, or a refusal. `key` empty: as the operator."""
        key = key or self.token()
        key = f"{key}~{claim}" if claim else key
        connection = http.client.HTTPConnection("127.0.0.1", self.site.ports["http"], timeout=30)
        self.connections.append(connection)
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        connection.request("POST", "/v1/chat/completions", CHAT, headers)
        return connection.getresponse()

    def hears(self, claim: str = "", key: str = "") -> str:
        """The code of a refusal; "ok" when it is answered."""
        with self.asks(claim, key) as response:
            code = "ok" if response.status == 200 else str(json.loads(response.read())["error"]["code"])
        self.connections.pop().close()
        return code


@pytest.fixture(scope="module")
def lasting() -> Iterator[ProxiedSite]:
    """The engine begins each answer, and never ends it."""
    with new_site() as site:
        (site.folder / "behaviour.json").write_text(json.dumps({"words": 2, "pause": 600}))
        site.declare("r1")
        site.agent.start()
        yield site


@pytest.fixture
def holder(lasting: ProxiedSite) -> Iterator[Holder]:
    lasting.proxy.heal()
    lasting.agent.until_link("in_sync")
    lasting.until_instance(INSTANCE_STATE_READY)
    made = Holder(lasting)
    yield made
    for connection in made.connections:
        connection.close()


def test_t22_whoever_takes_it_alone_cuts_the_others_and_is_cut_when_it_is_handed_on(holder: Holder) -> None:
    stream = holder.asks()
    first = holder.takes()
    until(lambda: holder.is_granted(first))
    with pytest.raises(http.client.IncompleteRead):
        stream.read()
    assert holder.hears() == "runtime_claimed"
    mine = holder.asks(first)
    assert mine.status == 200
    second = holder.takes()
    assert holder.hears(second) == "claim_waiting"
    holder.releases(first)
    with pytest.raises(http.client.IncompleteRead):
        mine.read()
    until(lambda: holder.is_granted(second))
    assert (holder.hears(first), holder.hears(second)) == ("claim_over", "ok")
    holder.releases(second)
    until(lambda: holder.hears() == "ok")


def test_a_key_gets_a_claim_by_asking_and_stands_in_line_where_another_has_it_alone(holder: Holder) -> None:
    key, other = holder.key_of("team"), holder.key_of("other")
    assert holder.hears(key=key) == "ok"
    granted = claim_pb2.CLAIM_STATE_GRANTED
    until(lambda: [claim.state for claim in holder.claims_of("team")] == [granted])
    (mine,) = holder.claims_of("team")
    assert (mine.order.exclusive, mine.hold.runtime) == (False, "runtimes/r1")
    assert (holder.hears(mine.id, key), holder.hears(mine.id, other)) == ("ok", "claim_foreign")
    holder.loses(mine.id)
    alone = holder.takes()
    until(lambda: holder.is_granted(alone))
    assert (holder.hears(key=other), holder.hears(alone, other)) == ("runtime_claimed", "claim_foreign")
    until(lambda: [claim.state for claim in holder.claims_of("other")] == [claim_pb2.CLAIM_STATE_QUEUED])
    holder.releases(alone)
    until(lambda: [claim.state for claim in holder.claims_of("other")] == [granted])
    holder.loses(holder.claims_of("other")[0].id)


def test_f3_a_claim_that_was_taken_away_while_its_agent_stood_still_is_served_by_nobody_again(holder: Holder) -> None:
    site = holder.site
    first = holder.takes()
    until(lambda: holder.is_granted(first))
    assert site.agent.process
    os.kill(site.agent.process.pid, signal.SIGSTOP)
    try:
        site.until_node(NODE_STATE_OFFLINE)
        holder.loses(first)
        second = holder.takes()
        assert holder.hears(first) == "claim_over"
        assert not holder.is_granted(second)
    finally:
        os.kill(site.agent.process.pid, signal.SIGCONT)
    until(lambda: holder.hears(first) == "claim_over" and holder.is_granted(second))
    assert (holder.hears(first), holder.hears(), holder.hears(second)) == ("claim_over", "runtime_claimed", "ok")
    holder.releases(second)


def test_f12_a_cut_node_stops_what_a_claim_gave_an_end_though_its_agent_was_killed_meanwhile(holder: Holder) -> None:
    site = holder.site
    claim = holder.takes(stop_after=timedelta(seconds=4))
    until(lambda: holder.is_granted(claim))
    pid = int(site.instance().process.engine_pid)
    site.proxy.silence()
    site.agent.end()
    site.agent.start()
    until(lambda: start_ticks(pid) is None)
    site.proxy.heal()
    site.until_instance(INSTANCE_STATE_READY)
    assert int(site.instance().process.engine_pid) != pid
    until(lambda: holder.hears(claim) == "ok")
    holder.releases(claim)
