"""The agent as people meet it: its commands, against a real control plane."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from arw.v1 import node_service_pb2
from node_agent.identity.files import IdentityFiles
from tests.fakes.patience import SLACK
from tests.fakes.processes import AgentProcess, ControlPlaneProcess, environment, until


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlaneProcess]:
    running = ControlPlaneProcess(tmp_path_factory.mktemp("cp"))
    running.initialise()
    running.start()
    yield running
    running.end()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    agent = AgentProcess(tmp_path)
    yield agent
    if agent.process:
        agent.end()


@pytest.fixture
def joined(agent: AgentProcess, control_plane: ControlPlaneProcess) -> AgentProcess:
    answer = agent.join(*control_plane.token())
    assert answer.returncode == 0, answer.stderr
    return agent


def test_an_agent_joins_serves_and_leaves_in_good_order(joined: AgentProcess) -> None:
    joined.start()
    joined.until_link("in_sync")
    status = joined.status()
    assert joined.process
    assert status["agent"] == {"running": True, "pid": joined.process.pid}
    assert status["certificate"]["problem"] is None
    second = joined.command("run")
    assert second.returncode == 2
    assert f"runs already with pid {joined.process.pid}" in second.stderr
    assert joined.end(signal.SIGTERM) == 0
    assert joined.status()["agent"] == {"running": False, "pid": None}
    assert "never retrieved" not in joined.log


def test_a_token_lets_one_machine_in(agent: AgentProcess, control_plane: ControlPlaneProcess, tmp_path: Path) -> None:
    address, token = control_plane.token()
    assert agent.join(address, token).returncode == 0
    (tmp_path / "other").mkdir()
    again = AgentProcess(tmp_path / "other").join(address, token)
    assert again.returncode == 2
    assert "used already" in again.stderr
    assert token.split(".")[1] not in again.stderr + again.stdout


def test_a_token_of_another_control_plane_sends_nothing(
    agent: AgentProcess, control_plane: ControlPlaneProcess
) -> None:
    address, token = control_plane.token()
    own = token.rpartition(".")[2]
    answer = agent.join(address, token.replace(own, "a" * 52))
    assert answer.returncode == 2
    assert own in answer.stderr
    assert "a" * 52 in answer.stderr
    # The token is still good: nobody has seen it.
    assert agent.join(address, token).returncode == 0


def test_an_agent_that_is_told_late_where_to_join_joins_all_the_same(
    agent: AgentProcess, control_plane: ControlPlaneProcess
) -> None:
    answer = agent.command("join", "--server", "-", stdin="{}\n{}\n".format(*control_plane.token()))
    assert answer.returncode == 0, answer.stderr
    assert "Joined as" in answer.stdout


def test_an_agent_that_is_never_told_where_to_join_ends_and_trusts_nothing(agent: AgentProcess) -> None:
    answer = agent.command("join", "--server", "-")
    assert answer.returncode == 2
    assert "ended before it named a server" in answer.stderr
    assert not (agent.state / "node_agent" / "engines.json").exists()


def test_a_machine_that_has_not_joined_says_how(agent: AgentProcess) -> None:
    for command in ("run", "status"):
        answer = agent.command(command)
        assert answer.returncode == 2
        first, second = answer.stderr.splitlines()[-2:]
        assert first.startswith("error: ")
        assert second.startswith("next:  ")
        assert "arw-node-agent join" in second


def test_the_agent_outlives_its_control_plane(joined: AgentProcess, control_plane: ControlPlaneProcess) -> None:
    joined.start()
    epoch = joined.until_link("in_sync")["session_epoch"]
    control_plane.end(signal.SIGKILL)
    try:
        joined.until_link("disconnected")
        until(lambda: "cannot be reached" in joined.link()["problem"]["text"])
    finally:
        control_plane.start()
    joined.until_link("in_sync", epoch + 1)
    assert joined.process
    assert joined.process.poll() is None


def test_a_revoked_agent_stops_trying_and_says_why(joined: AgentProcess, control_plane: ControlPlaneProcess) -> None:
    joined.start()
    joined.until_link("in_sync")
    with control_plane.nodes() as nodes:
        nodes.RevokeNode(node_service_pb2.RevokeNodeRequest(name=f"nodes/{joined.status()['node']}"))
    link = joined.until_link("refused")
    assert "revoked" in link["problem"]["text"]
    tries = joined.log.count("refused_by_control_plane")
    time.sleep(1)
    assert joined.log.count("refused_by_control_plane") == tries


def test_stop_ends_a_running_agent_and_is_content_when_there_is_none(joined: AgentProcess) -> None:
    joined.start()
    joined.until_link("in_sync")
    assert joined.process
    answer = joined.command("stop")
    assert (answer.returncode, f"pid {joined.process.pid}" in answer.stdout) == (0, True)
    assert joined.process.wait(5 * SLACK) == 0
    assert joined.command("stop").returncode == 0


def test_stop_kills_an_agent_that_hangs(joined: AgentProcess) -> None:
    joined.start()
    joined.until_link("in_sync")
    assert joined.process
    joined.process.send_signal(signal.SIGSTOP)
    answer = joined.command("stop")
    assert answer.returncode == 0, answer.stderr
    assert joined.process.wait(5 * SLACK) == -signal.SIGKILL


def test_a_short_certificate_is_renewed_again_and_again(tmp_path: Path) -> None:
    env = environment(ARW_NODE_CERTIFICATE_SECONDS="12")
    control_plane = ControlPlaneProcess(tmp_path, env)
    control_plane.initialise()
    control_plane.start()
    agent = AgentProcess(tmp_path, env)
    try:
        assert agent.join(*control_plane.token()).returncode == 0
        agent.start()
        files, serials = IdentityFiles(tmp_path / "node_agent"), set()

        def three() -> bool:
            serials.add(files.current().leaf.serial_number)
            return len(serials) >= 3

        until(three, patience_s=45.0)
        agent.until_link("in_sync")
        assert "refused_by_control_plane" not in agent.log
    finally:
        agent.end()
        control_plane.end()
