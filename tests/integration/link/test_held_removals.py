"""What an agent holds back from being removed, and the operator who lets it go: a real pair, with engines that run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from arw.v1 import instance_pb2, node_pb2
from arw.v1.node_service_pb2 import AllowRemovalsRequest, AllowRemovalsResponse, GetNodeRequest
from arw.v1.node_service_pb2_grpc import NodeServiceStub
from arw.v1.runtime_service_pb2 import DeleteRuntimeRequest
from arw.v1.runtime_service_pb2_grpc import RuntimeServiceStub
from arw.v1.state_service_pb2 import GetRuntimeMatrixRequest, ListEventsRequest
from arw.v1.state_service_pb2_grpc import StateServiceStub
from node_agent.runtimes.process import start_ticks
from tests.fakes.processes import until
from tests.fakes.proxied_site import NODE, ProxiedSite, new_site

pytestmark = pytest.mark.timeout(120)
ARWCTL = Path(sys.executable).with_name("arwctl")
RUNTIMES = ("r1", "r2", "r3")
TEXT = "Holds back 3 removals: r1, r2, r3."
REMEDY = "To stop them now: arwctl nodes allow-removals n1. To keep them, declare them again."


@pytest.fixture
def site() -> Iterator[ProxiedSite]:
    """Three runtimes run, and the agent that started them is dead. The next one holds removals back for a minute."""
    with new_site() as made:
        made.declare(*RUNTIMES)
        made.agent.start()
        for runtime in RUNTIMES:
            made.until_instance(instance_pb2.INSTANCE_STATE_READY, runtime)
        made.agent.end()
        made.agent.env["ARW_TIMERS"] = ""
        yield made


def remove_all(site: ProxiedSite) -> None:
    for runtime in RUNTIMES:
        RuntimeServiceStub(site.channel).DeleteRuntime(DeleteRuntimeRequest(name=f"runtimes/{runtime}"))


def running(site: ProxiedSite) -> int:
    return sum(start_ticks(int(pid)) is not None for pid in site.starts)


def node(site: ProxiedSite) -> node_pb2.Node:
    return NodeServiceStub(site.channel).GetNode(GetNodeRequest(name=NODE)).node


def until_held(site: ProxiedSite, *runtimes: str) -> node_pb2.Node:
    names = [f"{NODE}/instances/{runtime}" for runtime in runtimes]
    until(lambda: [held.instance for held in node(site).held_removals] == names)
    return node(site)


def allow(site: ProxiedSite, *removals: node_pb2.HeldRemoval) -> AllowRemovalsResponse:
    return NodeServiceStub(site.channel).AllowRemovals(AllowRemovalsRequest(name=NODE, removals=removals))


def told(site: ProxiedSite, kind: str) -> list[dict[str, object]]:
    """Payloads of the journal, oldest first."""
    events = StateServiceStub(site.channel).ListEvents(ListEventsRequest(prefixes=[kind], page_size=1000)).events
    return [dict(event.payload) for event in events]


def last_summary(site: ProxiedSite, runtime: str) -> tuple[object, object]:
    said = [event for event in told(site, "runtime.state.changed") if event["runtime"] == runtime]
    return said[-1]["state"], said[-1]["summary"]


def test_an_operator_lets_through_exactly_the_removals_that_are_held(site: ProxiedSite) -> None:
    remove_all(site)
    site.agent.start()
    shown = until_held(site, *RUNTIMES)
    assert running(site) == 3
    assert (shown.summary, shown.severity) == (TEXT, instance_pb2.SEVERITY_WARN)
    assert [(problem.text, problem.remedy) for problem in shown.problems] == [(TEXT, REMEDY)]
    matrix = StateServiceStub(site.channel).GetRuntimeMatrix(GetRuntimeMatrixRequest()).matrix
    assert list(matrix.items["n1"].status.detail) == [TEXT, REMEDY]
    until(lambda: {last_summary(site, name) for name in RUNTIMES} == {("ready", "Ready; its removal is held back")})

    first, second, third = shown.held_removals
    assert list(allow(site, first, second).allowed) == [first, second]
    until_held(site, "r3")
    until(lambda: running(site) == 1)
    assert {event["runtime"] for event in told(site, "runtime.removed")} <= {"r1", "r2"}

    with pytest.raises(grpc.RpcError, match="holds back none of these removals now"):
        allow(site, first, node_pb2.HeldRemoval(instance=third.instance, spec_revision=third.spec_revision + 1))
    assert running(site) == 1

    said = arwctl(site, "nodes", "allow-removals", "n1", "--yes")
    assert (said.returncode, said.stdout.splitlines()[-1]) == (0, "n1: told to stop r3"), said.stderr
    until(lambda: running(site) == 0)
    assert not until_held(site).problems
    allowed = told(site, "cluster.node.removals.allowed")
    assert [list(event["removals"]) for event in allowed] == [["r1", "r2"], ["r3"]]  # type: ignore[call-overload]
    assert {event["operator"] for event in allowed} == {"local"}
    again = arwctl(site, "nodes", "allow-removals", "n1", "--yes")
    assert (again.returncode, "n1 holds back no removal" in again.stderr) == (1, True)


def arwctl(site: ProxiedSite, *words: str) -> subprocess.CompletedProcess[str]:
    context = str(site.folder / "context.json")
    return subprocess.run(
        [ARWCTL, *words, "--context", context], env=dict(os.environ), capture_output=True, text=True, check=False
    )


def test_an_engine_whose_spec_is_lost_shows_that_it_runs_while_its_removal_is_held(site: ProxiedSite) -> None:
    remove_all(site)
    for file in (site.folder / "node_agent").glob("agent.db*"):
        file.unlink()
    site.agent.start()
    shown = until_held(site, *RUNTIMES)
    assert {held.spec_revision for held in shown.held_removals} == {0}
    runs_on = ("degraded", "Runs on unwatched, for its spec is lost; its removal is held back")
    until(lambda: {last_summary(site, name) for name in RUNTIMES} == {runs_on})
    assert running(site) == 3
    allow(site, *shown.held_removals)
    until(lambda: running(site) == 0)
    assert not until_held(site).problems


def test_a_drain_empties_a_node_at_once_and_its_guard_lets_that_through(site: ProxiedSite) -> None:
    site.agent.start()
    until(lambda: NodeServiceStub(site.channel).GetNode(GetNodeRequest(name=NODE)).node.summary == "Connected")
    drained = arwctl(site, "nodes", "drain", "n1", "--within", "0s", "--wait", "--timeout", "50s")
    assert (drained.returncode, running(site)) == (0, 0), drained.stdout + drained.stderr
    assert drained.stdout.splitlines()[-1] == "n1: nothing is left there"
    (allowed,) = told(site, "cluster.node.removals.allowed")
    assert (allowed["operator"], list(allowed["removals"])) == ("drain", list(RUNTIMES))  # type: ignore[call-overload]
    assert "no (drained)" in arwctl(site, "nodes", "show", "n1").stdout
    assert arwctl(site, "nodes", "resume", "n1").returncode == 0
    until(lambda: running(site) == 3)
    assert arwctl(site, "nodes", "drain", "n1", "--within", "0s", "--wait", "--timeout", "50s").returncode == 0
    assert running(site) == 0
