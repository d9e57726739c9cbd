"""What `arwctl admin doctor` finds, and that it says what to do."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest

from arw.v1 import instance_pb2, node_pb2, problem_pb2, runtime_matrix_pb2, runtime_pb2
from arwctl.checkup import Finding, Grade
from arwctl.exit_codes import ExitCode
from tests.fakes.operator_api import OperatorApi
from tests.unit.arwctl.conftest import Arwctl, runtime

OURS = version("arw")


@pytest.fixture
def well(api: OperatorApi) -> OperatorApi:
    """Everything is as it should be, but for the HTTP port, where nobody listens."""
    api.supervisor.supervisor.version = OURS
    api.supervisor.supervisor.update_time.FromDatetime(datetime.now(UTC))
    api.nodes = [node()]
    api.runtimes = [runtime()]
    return api


def node(state: node_pb2.NodeState.ValueType = node_pb2.NODE_STATE_ONLINE, agent: str = OURS) -> node_pb2.Node:
    made = node_pb2.Node(name="nodes/n1", state=state, agent_version=agent)
    made.certificate_expire_time.FromDatetime(datetime.now(UTC) + timedelta(hours=20))
    return made


async def found(run: Arwctl, state: Path) -> list[Finding]:
    """What it says beyond "ok"; the fake serves no HTTP."""
    said = await run("admin", "doctor", "-o", "json", "--state-dir", state, "--context", state / "context.json")
    assert said.code == ExitCode.FAILED
    every = [Finding(one["check"], Grade(one["grade"]), one["text"], one["remedy"]) for one in json.loads(said.out)]
    wrong = [one for one in every if one.grade is not Grade.OK]
    assert all(one.remedy for one in wrong)
    return [one for one in wrong if one.check not in {"port", "certificate"} or "n1" in one.text]


async def test_a_healthy_control_plane_gives_no_work(run: Arwctl, state: Path, well: OperatorApi) -> None:
    assert await found(run, state) == []


async def test_an_unreachable_control_plane_is_the_first_thing_to_mend(run: Arwctl, tmp_path: Path) -> None:
    said = await run("admin", "doctor", "--state-dir", tmp_path, "--context", tmp_path / "context.json")
    assert said.code == ExitCode.FAILED
    assert "next: Start a control plane with `arwctl up`" in said.out


async def test_versions_that_differ_are_named(run: Arwctl, state: Path, well: OperatorApi) -> None:
    well.nodes = [node(agent="0.0.1")]
    (one,) = await found(run, state)
    assert (one.check, one.grade) == ("version", Grade.WARN)
    assert "n1 runs agent 0.0.1" in one.text


async def test_clocks_that_are_apart_are_named(run: Arwctl, state: Path, well: OperatorApi) -> None:
    well.supervisor.supervisor.update_time.FromDatetime(datetime.now(UTC) - timedelta(hours=1))
    (one,) = await found(run, state)
    assert (one.check, one.grade) == ("clock", Grade.WARN)


@pytest.mark.parametrize(
    ("standing", "wanted"),
    [
        (node_pb2.NODE_STATE_OFFLINE, (Grade.ERROR, "n1 is offline")),
        (node_pb2.NODE_STATE_QUARANTINED, (Grade.ERROR, "n1 is quarantined")),
        (node_pb2.NODE_STATE_WAITING_FOR_APPROVAL, (Grade.WARN, "n1 waits for approval")),
    ],
)
async def test_nodes_that_do_not_serve_are_named(
    run: Arwctl, state: Path, well: OperatorApi, standing: node_pb2.NodeState.ValueType, wanted: tuple[Grade, str]
) -> None:
    well.nodes = [node(standing)]
    (one,) = await found(run, state)
    assert (one.check, one.grade) == ("node", wanted[0])
    assert wanted[1] in one.text


async def test_problems_held_removals_and_late_certificates_of_a_node_are_named(
    run: Arwctl, state: Path, well: OperatorApi
) -> None:
    ailing = node()
    ailing.certificate_expire_time.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
    ailing.problems.append(problem_pb2.Problem(text="The disk is nearly full.", remedy="Make room."))
    ailing.held_removals.append(node_pb2.HeldRemoval(instance="nodes/n1/instances/r1"))
    well.nodes = [ailing]
    late, full, held = await found(run, state)
    assert "has not renewed" in late.text
    assert (full.text, full.remedy) == ("n1: The disk is nearly full.", "Make room.")
    assert "allow-removals n1" in held.remedy


async def test_runtimes_in_error_without_a_place_or_without_restarts_are_named(
    run: Arwctl, state: Path, well: OperatorApi
) -> None:
    broken = runtime(instance_pb2.INSTANCE_STATE_ERROR)
    broken.instance.problem.text = "It ended with exit code 3."
    homeless = runtime_pb2.Runtime(name="runtimes/b", id="b")
    homeless.placement_problem.MergeFrom(problem_pb2.Problem(text="No node has room.", remedy="Add a node."))
    tied = runtime_pb2.Runtime(name="runtimes/c", id="c", instance=runtime().instance)
    tied.stuck.MergeFrom(problem_pb2.Problem(text="It fits nowhere else.", remedy="Join a node."))
    well.runtimes = [broken, homeless, tied]
    tired = well.supervisor.supervisor.runtimes.add()
    tired.descriptor.id = "b"
    tired.status.restart_budget.MergeFrom(runtime_matrix_pb2.RestartBudgetView(max_restarts=3, used=3))
    error, placeless, left, spent = await found(run, state)
    assert (left.text, left.remedy) == ("c: It fits nowhere else.", "Join a node.")
    assert error.grade is Grade.ERROR
    assert "exit code 3" in error.text
    assert placeless.remedy == "Add a node."
    assert "restore b --reset-budget" in spent.remedy
