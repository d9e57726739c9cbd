"""What an agent's machine has and does, as an operator sees it: real processes, a made-up driver."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from arw.v1 import accelerator_pb2, node_pb2, node_service_pb2, problem_pb2
from tests.fakes import fake_driver
from tests.fakes.fake_driver import FakeDriver
from tests.fakes.processes import AgentProcess, ControlPlaneProcess, environment, until


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    driver = fake_driver.installed(tmp_path, monkeypatch)
    driver.says(gpus=1)
    monkeypatch.setenv("LLAMA_GPU_SIMULATE", "1")
    return driver


@pytest.fixture
def control_plane(tmp_path: Path) -> Iterator[ControlPlaneProcess]:
    state = tmp_path / "cp"
    state.mkdir()
    running = ControlPlaneProcess(state)
    running.initialise()
    running.start()
    yield running
    running.end()


@pytest.fixture
def agent(tmp_path: Path, control_plane: ControlPlaneProcess, driver: FakeDriver) -> Iterator[AgentProcess]:
    state = tmp_path / "agent"
    state.mkdir()
    agent = AgentProcess(state, environment())
    assert agent.join(*control_plane.token()).returncode == 0
    agent.start()
    yield agent
    if agent.process:
        agent.end()


def node_of(control_plane: ControlPlaneProcess) -> node_pb2.Node:
    with control_plane.nodes() as nodes:
        answer: node_service_pb2.ListNodesResponse = nodes.ListNodes(node_service_pb2.ListNodesRequest())
    return answer.nodes[0]


def device(control_plane: ControlPlaneProcess, name: str) -> accelerator_pb2.Accelerator | None:
    found = node_of(control_plane).inventory.accelerators
    return next((each for each in found if each.id == name), None)


def is_broken(control_plane: ControlPlaneProcess) -> bool:
    found = device(control_plane, "GPU-00000000")
    return found is not None and found.HasField("problem")


def measured(control_plane: ControlPlaneProcess) -> dict[str, accelerator_pb2.AcceleratorUsage]:
    return {each.id: each for each in node_of(control_plane).usage.accelerators}


def probes_of(agent: AgentProcess) -> list[psutil.Process]:
    assert agent.process
    children = psutil.Process(agent.process.pid).children()
    return [child for child in children if any("node_agent.hardware." in word for word in child.cmdline())]


def test_devices_and_what_they_do_reach_the_operator_until_the_driver_hangs(
    control_plane: ControlPlaneProcess, agent: AgentProcess, driver: FakeDriver
) -> None:
    until(lambda: {"cpu", "GPU-00000000", "simulated-gpu-0"} <= measured(control_plane).keys())
    gpu, simulated = device(control_plane, "GPU-00000000"), device(control_plane, "simulated-gpu-0")
    assert gpu is not None
    assert simulated is not None
    assert (gpu.health_slug, gpu.simulated, simulated.simulated) == ("ok", False, True)
    assert measured(control_plane)["GPU-00000000"].temperature_celsius == 55.0

    driver.says(gpus=1, hang=1)
    broken = until(lambda: (found := device(control_plane, "GPU-00000000")) and found.HasField("problem") and found)
    assert broken.problem.reason == problem_pb2.REASON_ACCELERATOR_DRIVER_UNRESPONSIVE
    assert broken.health == accelerator_pb2.ACCELERATOR_HEALTH_UNUSABLE
    assert "cpu" in until(lambda: measured(control_plane))
    assert agent.link()["state"] == "in_sync"


@pytest.mark.parametrize("hangs", [0, 1])
def test_a_killed_agent_leaves_no_probe_behind(
    control_plane: ControlPlaneProcess, agent: AgentProcess, driver: FakeDriver, hangs: int
) -> None:
    until(lambda: "GPU-00000000" in measured(control_plane))
    driver.says(gpus=1, hang=hangs)
    until(lambda: is_broken(control_plane) is bool(hangs))
    probes = until(lambda: probes_of(agent))
    agent.end(signal.SIGKILL)
    until(lambda: not any(probe.is_running() and probe.status() != psutil.STATUS_ZOMBIE for probe in probes))
