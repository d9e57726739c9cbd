"""What runs already is watched and used, and never started, stopped or signalled."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node_agent.domain.spec import DesiredState, ExternalSettings, Hold, InstanceSpec, ModelFile
from node_agent.domain.status import InstanceState, InstanceStatus
from node_agent.runtimes import assembly
from tests.fakes import fake_program
from tests.fakes.instance_specs import NAME
from tests.fakes.local_node import LocalNode, until, until_ready, until_state
from tests.fakes.patience import SLACK

NO_MODEL = ModelFile("", "", "", 0)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def server(port: int, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Somebody else's server; it must still run when the block ends."""
    command = (sys.executable, str(fake_program.__file__), "--port", str(port), *options)
    process = await asyncio.create_subprocess_exec(*command)
    try:
        yield process
        assert process.returncode is None
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def wanted(node: LocalNode, port: int, **changes: Any) -> InstanceSpec:
    external = ExternalSettings(f"http://127.0.0.1:{port}", **changes)
    return node.spec(adapter="external", model=NO_MODEL, external=external)


async def test_it_is_attached_used_and_left_running(node: LocalNode, port: int) -> None:
    async with server(port, "--models", "llama3:8b") as theirs:
        async with node.agent(wanted(node, port)) as supervisor:
            status = await until_ready(supervisor)
            assert (status.process, status.incarnation) == (None, 0)
            assert (status.engine, status.detail) == (f"external, 127.0.0.1:{port}", ("model llama3:8b",))
            door = supervisor.door(NAME)
            assert door is not None
            assert (door.host, door.port, door.model, door.api_key) == ("127.0.0.1", port, "llama3:8b", "")
            assert door.holds == {Hold("system", 1)}
            supervisor.desire([replace(wanted(node, port), desired_state=DesiredState.STOPPED)])
            await until_state(supervisor, InstanceState.OFFLINE)
            assert supervisor.door(NAME) is None
        assert theirs.returncode is None


async def test_what_it_counts_is_shown(node: LocalNode, port: int) -> None:
    async with server(port), node.agent(wanted(node, port)) as supervisor:
        await until_ready(supervisor)

        def counted(status: InstanceStatus) -> bool:
            return status.health is not None and status.health.inflight_requests == 3

        async with asyncio.timeout(10 * SLACK):
            while not any(counted(status) for status in supervisor.statuses()):  # noqa: ASYNC110 - told to nobody
                await asyncio.sleep(0.02)


async def test_it_is_asked_when_somebody_wants_to_know(node: LocalNode, port: int) -> None:
    async with server(port), node.agent(wanted(node, port)) as supervisor:
        await until_ready(supervisor)
        supervisor.probe(NAME, "j1")
        status = await until(supervisor, lambda one: one.answered_probes == ("j1",))
        assert status.health is not None
        assert status.health.probe_latency is not None


async def test_its_death_costs_no_restart_and_its_return_is_noticed(node: LocalNode, port: int) -> None:
    async with node.agent(wanted(node, port)) as supervisor:
        waiting = await until(supervisor, lambda status: status.problem is not None)
        assert (waiting.state, waiting.problem and waiting.problem.reason) == (InstanceState.STARTING, "PROBES_FAILED")
        async with server(port):
            await until_ready(supervisor)
        await until_state(supervisor, InstanceState.STARTING)
        assert supervisor.door(NAME) is None
        async with server(port):
            status = await until_ready(supervisor)
            assert status.budget is not None
            assert status.budget.used == 0


async def test_an_agent_that_starts_again_attaches_again(node: LocalNode, port: int) -> None:
    async with server(port):
        async with node.agent(wanted(node, port)) as supervisor:
            await until_ready(supervisor)
        async with node.agent(wanted(node, port)) as supervisor:
            await until_ready(supervisor)
            assert supervisor.door(NAME) is not None


async def test_of_several_models_the_manifest_must_name_one(node: LocalNode, port: int) -> None:
    async with server(port, "--models", "a,b"), node.agent(wanted(node, port)) as supervisor:
        status = await until(supervisor, lambda status: "has several models" in status.summary)
        assert status.problem is not None
        assert (status.problem.reason, "a, b" in status.problem.text) == ("SPEC_INVALID", True)
        supervisor.desire([wanted(node, port, model="b")])
        await until_ready(supervisor)
        door = supervisor.door(NAME)
        assert door is not None
        assert door.model == "b"


async def test_another_machine_is_attached_only_where_the_owner_allows_it(node: LocalNode) -> None:
    spec = replace(wanted(node, 1), external=ExternalSettings("http://10.9.8.7:8000"))
    async with node.agent() as supervisor:
        problem = await supervisor.admit(spec)
        assert problem is not None
        assert problem.reason == "LOCAL_POLICY_DENIED"
        assert "arw-node-agent trust external http://10.9.8.7:8000" in problem.remedy
        assembly.attachable(node.path).allow("http://10.9.8.7:8000/", None)
        assert await supervisor.admit(spec) is None


@pytest.mark.parametrize("url", ["https://127.0.0.1", "http://127.0.0.1:8000/admin", "http://a:b@127.0.0.1", "nothing"])
async def test_only_a_plain_address_is_attached(node: LocalNode, url: str) -> None:
    async with node.agent() as supervisor:
        problem = await supervisor.admit(replace(wanted(node, 1), external=ExternalSettings(url)))
    assert problem is not None
    assert problem.reason == "SPEC_INVALID"


async def test_the_key_that_it_asks_for_comes_from_the_owners_file(node: LocalNode, port: int, tmp_path: Path) -> None:
    async with server(port, "--key", "k1"), node.agent(wanted(node, port)) as supervisor:
        status = await until(supervisor, lambda status: status.problem is not None)
        assert status.state is InstanceState.STARTING
    (tmp_path / "key").write_text("k1\n")
    assembly.attachable(node.path).allow(f"http://127.0.0.1:{port}", tmp_path / "key")
    async with server(port, "--key", "k1"), node.agent(wanted(node, port)) as supervisor:
        await until_ready(supervisor)
        door = supervisor.door(NAME)
        assert door is not None
        assert door.api_key == "k1"
