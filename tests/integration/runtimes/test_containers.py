"""A real llama.cpp in a real container. Skipped where podman cannot run."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from arwctl.tiny_model import SENTENCE
from node_agent.domain.errors import EngineNotFound
from node_agent.domain.limits import Limits
from node_agent.domain.sandbox import Sandbox
from node_agent.domain.spec import (
    DesiredState,
    ExecutionMode,
    ExecutionSettings,
    InstanceSpec,
    ProcessSettings,
    RestartPolicy,
)
from node_agent.domain.status import InstanceState, InstanceStatus
from node_agent.runtimes import assembly
from node_agent.runtimes.containers.service import Containers
from node_agent.runtimes.containers.strays import end_strays
from node_agent.runtimes.containers.trusting import trust_image
from node_agent.runtimes.engines import LLAMA_CPP
from node_agent.runtimes.probe import get
from node_agent.runtimes.process import Process, start_ticks
from node_agent.runtimes.shutdown import stop_everything
from node_agent.runtimes.supervisor import LocalSupervisor
from tests.fakes.engine_image import EngineImage, engine_image, variant
from tests.fakes.local_node import TIMERS, LocalNode, engine_pid, shim_pid, until, until_ready, until_state
from tests.integration.runtimes.test_real_engine import CHAT, ask

pytestmark = pytest.mark.engine
pytest.importorskip("xllamacpp")

IN_CONTAINER = ExecutionSettings(modes=frozenset({ExecutionMode.CONTAINER}))
PRYING = """
import http.server, json, os, socket, sys
def tried(what, *how):
    try:
        what(*how)
    except OSError as error:
        return type(error).__name__
    return "done"
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        facts = {
            "uid": os.getuid(),
            "capabilities": [l.split()[1] for l in open("/proc/self/status") if l.startswith("CapEff")][0],
            "no_new_privileges": [l.split()[1] for l in open("/proc/self/status") if l.startswith("NoNewPrivs")][0],
            "interfaces": sorted(os.listdir("/sys/class/net")),
            "host_port": tried(socket.create_connection, ("127.0.0.1", int(sys.argv[2])), 2),
            "elsewhere": tried(socket.create_connection, ("192.0.2.1", 80), 2),
            "root": tried(open, "/new", "w"),
            "own": tried(open, os.environ["TMPDIR"] + "/new", "w"),
            "model": tried(open, sys.argv[3], "r+"),
        }
        body = json.dumps(facts).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""
HOG = """
import http.server, sys, threading
def grow():
    kept = []
    while True:
        kept.append(bytearray(4 << 20))
threading.Timer(1, grow).start()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.BaseHTTPRequestHandler).serve_forever()
"""


@pytest.fixture(scope="module")
def image() -> EngineImage:
    return engine_image()


@pytest.fixture
def found(image: EngineImage, monkeypatch: pytest.MonkeyPatch) -> EngineImage:
    for name in ("CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF"):
        monkeypatch.setenv(name, image.environment[name])
    return image


async def trusted(node: LocalNode, image: EngineImage, adapter: str = LLAMA_CPP) -> None:
    listed = assembly.trust_list(node.path, node.digests)
    await trust_image(listed, Containers(), assembly.adapters()[adapter], image.name, "")


@pytest.fixture
async def ready_node(node: LocalNode, found: EngineImage) -> LocalNode:
    await trusted(node, found)
    node.sandbox = Sandbox()
    return node


def watched(node: LocalNode, *specs: InstanceSpec, **more: Any) -> AbstractAsyncContextManager[LocalSupervisor]:
    """With probes that a busy machine answers in time."""
    return node.agent(*specs, timers=replace(TIMERS, probe_timeout=timedelta(seconds=5)), **more)


def contained(node: LocalNode, **changes: Any) -> InstanceSpec:
    return node.spec(execution=IN_CONTAINER, **changes)


def program(node: LocalNode, image: EngineImage, text: str, *arguments: str) -> InstanceSpec:
    command = (image.entrypoint[0], "-I", "-c", text, "{port}", *arguments)
    return contained(node, adapter="process", process=ProcessSettings(command))


def containers(node: LocalNode, image: EngineImage) -> list[str]:
    return image.podman("ps", "--all", "--quiet", "--filter", f"label=arw.home={node.home.path}").split()


def first_process(node: LocalNode, image: EngineImage) -> int:
    (container,) = containers(node, image)
    return int(image.podman("inspect", "--format", "{{.State.Pid}}", container))


def ready_again(first: InstanceStatus) -> Callable[[InstanceStatus], bool]:
    return lambda now: now.state is InstanceState.READY and now.incarnation == first.incarnation + 1


async def test_it_answers_from_a_container_and_says_why_it_runs_in_one(ready_node: LocalNode) -> None:
    async with watched(ready_node, contained(ready_node)) as supervisor:
        status = await until_ready(supervisor)
        code, answer = await asyncio.to_thread(ask, supervisor, "/v1/chat/completions", CHAT)
        refused, _ = await asyncio.to_thread(ask, supervisor, "/v1/chat/completions", CHAT, "another")
    assert (code, answer["choices"][0]["message"]["content"].strip(), refused) == (200, SENTENCE, 401)
    assert status.execution_mode is ExecutionMode.CONTAINER
    assert status.execution_reason == "its manifest allows container alone"
    assert {layer.name for layer in status.sandbox if layer.in_force} >= {"container-network", "container-files"}


async def test_a_model_whose_path_takes_a_roundabout_way_is_found_within(ready_node: LocalNode, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link.gguf").symlink_to(ready_node.model.path)
    model = replace(ready_node.model, path=f"{tmp_path}/there/../link.gguf")
    async with watched(ready_node, contained(ready_node, model=model)) as supervisor:
        await until_ready(supervisor)


async def test_it_is_stopped_in_order_and_leaves_no_container(ready_node: LocalNode, found: EngineImage) -> None:
    async with watched(ready_node, contained(ready_node)) as supervisor:
        await until_ready(supervisor)
        supervisor.desire([contained(ready_node, desired_state=DesiredState.STOPPED)])
        status = await until_state(supervisor, InstanceState.OFFLINE)
    assert status.last_exit is not None
    assert status.last_exit.exit_code == 0
    assert containers(ready_node, found) == []


async def test_the_next_agent_takes_over_the_same_container(ready_node: LocalNode, found: EngineImage) -> None:
    async with watched(ready_node, contained(ready_node)) as supervisor:
        first = await until_ready(supervisor)
        pid = first_process(ready_node, found)
    async with watched(ready_node, contained(ready_node)) as supervisor:
        second = await until_ready(supervisor)
        code, _ = await asyncio.to_thread(ask, supervisor, "/v1/chat/completions", CHAT)
    assert (code, second.incarnation, first_process(ready_node, found)) == (200, first.incarnation, pid)


async def test_a_killed_engine_starts_again_in_a_new_container(ready_node: LocalNode, found: EngineImage) -> None:
    async with watched(ready_node, contained(ready_node)) as supervisor:
        first = await until_ready(supervisor)
        os.kill(first_process(ready_node, found), signal.SIGKILL)
        again = await until(supervisor, ready_again(first))
        left = containers(ready_node, found)
    assert again.last_exit is not None
    assert (again.last_exit.signal, len(left)) == (signal.SIGKILL, 1)


@pytest.mark.parametrize("whose", ["client", "shim and client"])
async def test_an_engine_whose_client_was_killed_is_never_doubled(
    ready_node: LocalNode, found: EngineImage, whose: str
) -> None:
    async with watched(ready_node, contained(ready_node)) as supervisor:
        first = await until_ready(supervisor)
        old = Process.hold(pid := first_process(ready_node, found), start_ticks(pid) or 0)
        assert old is not None
        for doomed in [shim_pid(first)] * (whose != "client") + [engine_pid(first)]:
            os.kill(doomed, signal.SIGKILL)
        await until(supervisor, ready_again(first))
        left = containers(ready_node, found)
    assert (old.ended, len(left)) == (True, 1)


async def test_without_an_agent_everything_is_stopped_too(ready_node: LocalNode, found: EngineImage) -> None:
    async with watched(ready_node, contained(ready_node)) as supervisor:
        await until_ready(supervisor)
    await stop_everything(ready_node.path / "instances", timedelta(seconds=5))
    assert containers(ready_node, found) == []


async def test_a_container_whose_directory_was_removed_is_ended(ready_node: LocalNode, found: EngineImage) -> None:
    async with watched(ready_node, contained(ready_node)) as supervisor:
        await until_ready(supervisor)
    shutil.rmtree(ready_node.home.path)
    tool = await Containers().tool()
    await end_strays(tool, ready_node.path / "elsewhere")
    assert len(containers(ready_node, found)) == 1
    await end_strays(tool, ready_node.path / "instances")
    assert containers(ready_node, found) == []


async def test_a_container_has_no_network_no_rights_and_one_folder(ready_node: LocalNode, found: EngineImage) -> None:
    await trusted(ready_node, found, "process")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        spec = program(ready_node, found, PRYING, port, ready_node.model.path)
        async with watched(ready_node, spec) as supervisor:
            await until_ready(supervisor)
            record = ready_node.home.launch()
            assert record is not None
            answer = await get(record.port, "/", timedelta(seconds=10))
    facts = json.loads(answer.body)
    assert facts.pop("model") != "done"
    assert facts == {
        "uid": 65534,
        "capabilities": "0" * 16,
        "no_new_privileges": "1",
        "interfaces": ["lo"],
        "host_port": "ConnectionRefusedError",
        "elsewhere": "OSError",
        "root": "OSError",
        "own": "done",
    }


async def test_an_engine_that_exceeds_its_memory_in_a_container_is_told_so(
    ready_node: LocalNode, found: EngineImage
) -> None:
    await trusted(ready_node, found, "process")
    spec = replace(program(ready_node, found, HOG), restart=RestartPolicy(0))
    async with watched(ready_node, spec, limits=lambda: Limits(memory_per_runtime_bytes=64 << 20)) as supervisor:
        status = await until_state(supervisor, InstanceState.ERROR)
    assert status.last_exit is not None
    assert status.last_exit.oom_killed
    assert any(
        "ran out of its memory limit of 64 MiB" in seen.problem.text for seen in ready_node.history if seen.problem
    )


async def test_an_image_that_says_it_is_unwell_is_started_again(ready_node: LocalNode, found: EngineImage) -> None:
    command = f'["{found.entrypoint[0]}", "-c", "import sys; sys.exit(\'the weights are gone\')"]'
    unwell = variant(found, "unwell", f"HEALTHCHECK --interval=1s --timeout=5s --retries=2 CMD {command}")
    await trusted(ready_node, unwell)
    execution = replace(IN_CONTAINER, image=unwell.name)
    async with watched(ready_node, ready_node.spec(execution=execution)) as supervisor:
        first = await until_ready(supervisor)
        await until(supervisor, ready_again(first))
    problems = [seen.problem for seen in ready_node.history if seen.problem is not None]
    assert any(problem.reason == "PROBES_FAILED" and "the weights are gone" in problem.text for problem in problems)


async def test_a_tag_that_was_moved_changes_nothing(ready_node: LocalNode, found: EngineImage) -> None:
    moved = variant(found, "moved", 'ENTRYPOINT ["/bin/false"]')
    tag = f"{found.name}-tag"
    found.podman("tag", found.name, tag)
    await trusted(ready_node, replace(found, name=tag))
    found.podman("tag", moved.name, tag)
    execution = replace(IN_CONTAINER, image=tag)
    async with watched(ready_node, ready_node.spec(execution=execution)) as supervisor:
        await until_ready(supervisor)


async def test_an_image_that_nobody_trusted_is_refused(ready_node: LocalNode) -> None:
    execution = replace(IN_CONTAINER, image="localhost/other:1")
    async with watched(ready_node, ready_node.spec(execution=execution)) as supervisor:
        status = await until_state(supervisor, InstanceState.ERROR)
    assert status.problem is not None
    assert status.problem.reason == "ENGINE_NOT_TRUSTED"
    assert "arw-node-agent trust llama.cpp --image localhost/other:1" in status.problem.remedy


async def test_trust_in_an_image_that_is_not_here_is_refused(node: LocalNode, found: EngineImage) -> None:
    with pytest.raises(EngineNotFound, match=r"localhost/none:1 is not on this node"):
        await trusted(node, replace(found, name="localhost/none:1"))
