"""Two nodes: what leaves the one starts on the other, answers what it has in hand, and never serves twice."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from arw.v1.instance_pb2 import INSTANCE_STATE_READY
from arw.v1.node_pb2 import NODE_STATE_OFFLINE, NODE_STATE_ONLINE
from arw.v1.node_service_pb2 import CreateJoinTokenRequest
from arw.v1.node_service_pb2_grpc import NodeServiceStub
from arw.v1.runtime_service_pb2 import ExplainRuntimeRequest, GetRuntimeRequest
from arw.v1.runtime_service_pb2_grpc import RuntimeServiceStub
from node_agent.runtimes.process import start_ticks
from tests.fakes import owner_file
from tests.fakes.processes import AgentProcess, until
from tests.fakes.proxied_site import THERE, ProxiedSite

pytestmark = pytest.mark.timeout(120)
ARWCTL = Path(sys.executable).with_name("arwctl")
R1 = """
[[runtimes]]
id = "r1"
adapter = "llama.cpp"
model = "tiny"
auto_start = true
[runtimes.placement]
on_disconnect = "move_after:1s"
"""


@pytest.fixture
def two(site: ProxiedSite) -> Iterator[ProxiedSite]:
    """The runtime r1 serves on n1; n2 is empty."""
    (site.folder / "behaviour.json").write_text(json.dumps({"words": 2, "pause": 1.0}))
    site.apply(R1)
    site.agent.start()
    site.until_instance(INSTANCE_STATE_READY)
    with tempfile.TemporaryDirectory(prefix="arw-drill-", ignore_cleanup_errors=True) as folder:
        other = _joined(site, Path(folder))
        try:
            yield site
        finally:
            other.command("stop")
            if other.process:
                other.end()


def _joined(site: ProxiedSite, folder: Path) -> AgentProcess:
    owner_file.write(folder, folders=[site.folder])
    token = NodeServiceStub(site.channel).CreateJoinToken(CreateJoinTokenRequest()).secret_text
    agent = AgentProcess(folder)
    engine = str(site.folder / "llama-server")
    joined = agent.join(f"{THERE}:{site.ports['enrollment']}", token, "--name", "n2", "--engine", engine)
    assert joined.returncode == 0, joined.stderr
    agent.start()
    agent.until_link("in_sync")
    return agent


def place(site: ProxiedSite) -> str:
    """The node where r1 serves; empty: nowhere now."""
    runtime = RuntimeServiceStub(site.channel).GetRuntime(GetRuntimeRequest(name="runtimes/r1")).runtime
    return str(runtime.node) if runtime.instance.state == INSTANCE_STATE_READY else ""


def copies(site: ProxiedSite) -> list[str]:
    answer = RuntimeServiceStub(site.channel).ExplainRuntime(ExplainRuntimeRequest(name="runtimes/r1"))
    return [copy.name for copy in answer.copies]


def asked(site: ProxiedSite) -> tuple[int, bytes]:
    token = json.loads((site.folder / "context.json").read_text())["token"]
    connection = http.client.HTTPConnection("127.0.0.1", site.ports["http"], timeout=20)
    body = json.dumps({"model": "r1", "messages": []})
    connection.request(
        "POST", "/v1/chat/completions", body, {"authorization": f"Bearer {token}", "content-type": "application/json"}
    )
    answer = connection.getresponse()
    return answer.status, answer.read()


def arwctl(site: ProxiedSite, *words: str) -> str:
    done = subprocess.run(
        [ARWCTL, *words, "--context", str(site.folder / "context.json")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_drained_node_ends_what_it_has_in_hand_and_the_other_one_goes_on(two: ProxiedSite) -> None:
    site, pid = two, int(two.starts[0])
    with ThreadPoolExecutor(1) as threads:
        in_hand: Future[Any] = threads.submit(asked, site)
        until(lambda: site.instance().health.inflight_requests or in_hand.running())
        said = arwctl(site, "nodes", "drain", "n1", "--wait", "--timeout", "60s")
        assert said.splitlines()[-1] == "n1: nothing is left there"
        assert in_hand.result() == (200, b"wordword")
    assert start_ticks(pid) is None
    until(lambda: place(site) == "nodes/n2")
    assert asked(site)[0] == 200
    assert "no (drained)" in arwctl(site, "nodes", "show", "n1")
    arwctl(site, "nodes", "resume", "n1")
    assert place(site) == "nodes/n2"


def test_what_a_lost_node_ran_moves_and_its_copy_serves_nothing_and_ends_on_return(two: ProxiedSite) -> None:
    site, pid = two, int(two.starts[0])
    assert site.agent.process
    site.agent.process.send_signal(signal.SIGSTOP)
    site.until_node(NODE_STATE_OFFLINE)
    until(lambda: place(site) == "nodes/n2")
    assert start_ticks(pid) is not None
    assert copies(site) == ["nodes/n1/instances/r1"]
    assert "left on n1: Unknown; it serves nothing" in arwctl(site, "runtime", "explain", "r1")
    assert asked(site)[0] == 200
    os.kill(site.agent.process.pid, signal.SIGCONT)
    site.until_node(NODE_STATE_ONLINE)
    until(lambda: start_ticks(pid) is None)
    until(lambda: copies(site) == [])
    assert place(site) == "nodes/n2"
    assert (asked(site)[0], len(site.starts)) == (200, 2)
