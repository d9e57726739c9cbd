"""Any program as a runtime, under the real supervisor and shim."""

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from node_agent.domain.errors import LocalPolicyDenied
from node_agent.domain.spec import HealthCheck, InstanceSpec, ModelFile, ProcessSettings
from node_agent.domain.status import InstanceState
from tests.fakes import fake_program
from tests.fakes.instance_specs import NAME
from tests.fakes.local_node import LocalNode, engine_pid, until, until_gone, until_ready, until_state

NO_MODEL = ModelFile("", "", "", 0)
WELL = HealthCheck("/healthz", expect_body="all well")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return script(tmp_path / "program", f'exec {sys.executable} {fake_program.__file__} "$@"')


def script(path: Path, line: str) -> Path:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o700)
    return path


def wanted(node: LocalNode, program: Path, *arguments: str, **settings: Any) -> InstanceSpec:
    command = (str(program), *(arguments or ("--port", "{port}")))
    process = ProcessSettings(**{"command": command, "health": WELL, **settings})
    return node.spec(adapter="process", model=NO_MODEL, process=process)


def change(program: Path) -> None:
    program.write_text(program.read_text() + "# changed\n")


async def test_a_trusted_program_runs_with_its_port_until_it_says_that_it_is_well(
    node: LocalNode, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    await node.trust(program, "process")
    note = tmp_path / "note.json"
    one = wanted(node, program, "--port", "{port}", "--note", str(note), env=(("KEY_FILE", "{key_file}"),))
    async with node.agent(one) as supervisor:
        await until_ready(supervisor)
    said = json.loads(note.read_text())
    assert said["env"]["KEY_FILE"] == str(node.home.key_file)
    assert "HF_TOKEN" not in said["env"]
    assert said["directory"] == str(node.home.scratch)


async def test_a_program_that_nobody_trusted_is_refused_with_the_command_that_would(
    node: LocalNode, program: Path
) -> None:
    async with node.agent() as supervisor:
        problem = await supervisor.admit(wanted(node, program))
    assert problem is not None
    assert problem.reason == "ENGINE_NOT_TRUSTED"
    assert f"arw-node-agent trust process {program}" in problem.remedy


async def test_trust_in_one_program_is_no_trust_in_another(node: LocalNode, program: Path, tmp_path: Path) -> None:
    await node.trust(program, "process")
    other = Path(shutil.copy(program, tmp_path / "other"))
    async with node.agent() as supervisor:
        problem = await supervisor.admit(wanted(node, other))
        assert problem is not None
        assert problem.reason == "ENGINE_NOT_TRUSTED"
        assert await supervisor.admit(wanted(node, program)) is None


async def test_a_program_that_changed_since_it_was_trusted_is_not_run(node: LocalNode, program: Path) -> None:
    await node.trust(program, "process")
    change(program)
    async with node.agent(wanted(node, program)) as supervisor:
        status = await until_state(supervisor, InstanceState.ERROR)
    assert status.problem is not None
    assert status.problem.reason == "ENGINE_NOT_TRUSTED"


@pytest.mark.parametrize("name", ["sh", "bash", "env", "python3"])
async def test_what_runs_any_text_cannot_be_trusted(node: LocalNode, name: str, tmp_path: Path) -> None:
    disguised = tmp_path / "innocent"
    disguised.symlink_to(Path(sys.executable) if name == "python3" else Path("/bin") / name)
    with pytest.raises(LocalPolicyDenied) as caught:
        await node.trust(disguised, "process")
    assert "script" in caught.value.remedy


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PATH", "HOME", "BASH_ENV", "PYTHONPATH", "NODE_OPTIONS"])
async def test_the_manifest_cannot_slip_other_code_into_a_trusted_program(
    node: LocalNode, program: Path, name: str
) -> None:
    await node.trust(program, "process")
    async with node.agent() as supervisor:
        problem = await supervisor.admit(wanted(node, program, env=((name, "/evil.so"),)))
    assert problem is not None
    assert (problem.reason, name in problem.text) == ("SPEC_INVALID", True)


async def test_an_answer_without_the_expected_words_is_not_ready(node: LocalNode, program: Path) -> None:
    await node.trust(program, "process")
    async with node.agent(wanted(node, program, "--port", "{port}", "--sick")) as supervisor:
        status = await until(supervisor, lambda status: status.problem is not None)
    assert status.problem is not None
    assert status.problem.reason == "START_DEADLINE_EXCEEDED"
    assert InstanceState.READY not in {status.state for status in node.history}


async def test_without_a_health_path_it_is_well_when_it_takes_connections(node: LocalNode, program: Path) -> None:
    await node.trust(program, "process")
    async with node.agent(wanted(node, program, health=HealthCheck())) as supervisor:
        await until_ready(supervisor)


async def test_requests_are_sent_only_to_what_speaks_the_openai_api(node: LocalNode, program: Path) -> None:
    await node.trust(program, "process")
    async with node.agent(wanted(node, program)) as supervisor:
        await until_ready(supervisor)
        assert supervisor.door(NAME) is None
        supervisor.desire([wanted(node, program, openai=True)])
        await until(supervisor, lambda status: status.incarnation > 1 and status.state is InstanceState.READY)
        assert supervisor.door(NAME) is not None


async def test_a_port_of_its_own_that_another_uses_is_said_and_nothing_is_started(
    node: LocalNode, program: Path
) -> None:
    await node.trust(program, "process")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        one = wanted(node, program, "--port", str(port), port=port)
        async with node.agent(one) as supervisor:
            status = await until_state(supervisor, InstanceState.ERROR)
            assert status.problem is not None
            assert (status.problem.reason, status.process) == ("PORT_UNAVAILABLE", None)
            taken.close()
            await until_ready(supervisor)


async def test_a_stranger_on_its_port_is_not_taken_for_it(node: LocalNode, tmp_path: Path) -> None:
    deaf = script(tmp_path / "deaf", "exec sleep 60")
    await node.trust(deaf, "process")
    async with node.agent(wanted(node, deaf)) as supervisor:
        await until(supervisor, lambda status: status.process is not None)
        record = node.home.launch()
        assert record is not None
        command = (sys.executable, str(fake_program.__file__), "--port", str(record.port))
        stranger = await asyncio.create_subprocess_exec(*command)
        try:
            status = await until(supervisor, lambda status: status.problem is not None)
        finally:
            stranger.kill()
            await stranger.wait()
    assert status.problem is not None
    assert status.problem.reason == "ENGINE_IDENTITY_MISMATCH"
    assert InstanceState.READY not in {status.state for status in node.history}


async def test_a_program_that_dies_is_started_again_within_its_budget(node: LocalNode, program: Path) -> None:
    await node.trust(program, "process")
    async with node.agent(wanted(node, program)) as supervisor:
        first = engine_pid(await until_ready(supervisor))
        os.kill(first, signal.SIGKILL)
        await until_gone(first)
        status = await until(supervisor, lambda status: status.incarnation > 1 and status.state is InstanceState.READY)
    assert status.budget is not None
    assert status.budget.used == 1
