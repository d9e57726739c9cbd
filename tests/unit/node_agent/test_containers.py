from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from node_agent.domain.errors import ExecutionModeUnavailable, LocalPolicyDenied, SpecInvalid
from node_agent.domain.inventory import Accelerator, DeviceHealth
from node_agent.domain.limits import Limits
from node_agent.domain.sandbox import Sandbox
from node_agent.runtimes.containers import tool as tools
from node_agent.runtimes.containers.accelerators import passed
from node_agent.runtimes.containers.arguments import Mount, Wish, run_arguments
from node_agent.runtimes.containers.exit_codes import translated
from node_agent.runtimes.containers.image import ImageCheck, inspect
from node_agent.runtimes.containers.layers import demand, layers
from node_agent.runtimes.containers.out_of_memory import counter_of, kills
from node_agent.runtimes.containers.service import Containers
from node_agent.runtimes.containers.tool import ContainerTool, ToolError, ToolKind
from node_agent.runtimes.kinds.adapter import Command
from node_agent.runtimes.records import ExitNote

PODMAN = ContainerTool("/usr/bin/podman", ToolKind.PODMAN, "4.3.1")
DOCKER = ContainerTool("/usr/bin/docker", ToolKind.DOCKER, "28.2.2")
WISH = Wish("arw-1", "nodes/n/instances/r", "/state/r", "ab12")
COMMAND = Command(("/app/llama-server", "--port", "4000"), {"LANG": "C.UTF-8"})
PODMAN_INFO = {
    "host": {"cgroupControllers": ["cpu", "memory"], "security": {"rootless": True}},
    "version": {"Version": "5.4.0"},
}
DOCKER_INFO = {
    "ServerVersion": "28.2.2",
    "MemoryLimit": True,
    "PidsLimit": False,
    "SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"],
    "Runtimes": {"runc": {"path": "runc"}, "nvidia": {"path": "nvidia-container-runtime"}},
    "OperatingSystem": "Debian GNU/Linux 12 (bookworm)",
}
CUDA = Accelerator("GPU-1", "gpu_cuda", pci_address="0000:01:00.0")
ROCM = Accelerator("0000:03:00.0", "gpu_rocm", pci_address="0000:03:00.0")


def scripted(folder: Path, name: str, said: str, status: int = 0) -> str:
    """A tool that prints one thing whatever it is asked."""
    file = folder / name
    file.write_text(f"#!/bin/sh\ncat <<'END'\n{said}\nEND\nexit {status}\n")
    file.chmod(0o755)
    return str(file)


def arguments(tool: ContainerTool = PODMAN, wish: Wish = WISH, command: Command = COMMAND) -> list[str]:
    return list(run_arguments(tool, wish, command))


def valued(words: Sequence[str], option: str) -> list[str]:
    return [value for word, value in pairwise(words) if word == option]


def test_a_container_gets_no_right_that_it_does_not_need() -> None:
    words = arguments()
    assert valued(words, "--network") == ["none"]
    assert valued(words, "--cap-drop") == ["all"]
    assert valued(words, "--security-opt") == ["no-new-privileges"]
    assert valued(words, "--user") == ["65534:65534"]
    assert valued(words, "--pull") == ["never"]
    assert "--read-only" in words
    assert "--privileged" not in words


def test_the_image_is_named_by_its_id_and_followed_by_the_options_of_the_engine() -> None:
    assert arguments()[-5:] == ["--entrypoint", "/app/llama-server", "ab12", "--port", "4000"]


def test_limits_are_set_where_the_tool_can() -> None:
    words = arguments(wish=replace(WISH, memory_bytes=1 << 30, processes=64))
    assert valued(words, "--memory") == valued(words, "--memory-swap") == [str(1 << 30)]
    assert valued(words, "--pids-limit") == ["64"]
    unable = replace(PODMAN, limits_memory=False, limits_processes=False)
    assert not {"--memory", "--pids-limit"} & set(arguments(unable, replace(WISH, memory_bytes=1, processes=1)))


@pytest.mark.parametrize(
    ("tool", "user"),
    [
        (replace(PODMAN, rootless=True), ["--userns", "keep-id:uid=65534,gid=65534", "--user", "65534:65534"]),
        (replace(DOCKER, rootless=True), ["--user", "0:0"]),
    ],
)
def test_without_root_the_files_of_the_agent_are_the_engines(tool: ContainerTool, user: list[str]) -> None:
    words = arguments(tool)
    first = words.index(user[0])
    assert words[first : first + len(user)] == user


def test_variables_go_by_name_unless_the_client_would_follow_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/of/this/machine")
    command = replace(COMMAND, env={"LANG": "C.UTF-8", "HOME": "/scratch", "PATH": "/of/this/machine"})
    assert valued(arguments(command=command), "--env") == ["HOME=/scratch", "LANG"]


def test_files_keep_their_paths_and_are_only_read() -> None:
    words = arguments(wish=replace(WISH, mounts=(Mount("/models/a b.gguf"), Mount("/scratch", writable=True))))
    assert valued(words, "--mount") == [
        "type=bind,src=/models/a b.gguf,dst=/models/a b.gguf,ro",
        "type=bind,src=/scratch,dst=/scratch",
    ]


def test_a_path_that_cannot_be_mounted_is_named() -> None:
    with pytest.raises(SpecInvalid, match="comma"):
        arguments(wish=replace(WISH, mounts=(Mount("/models/a,dst=/etc"),)))


def cdi(root: Path) -> Path:
    (root / "etc/cdi").mkdir(parents=True)
    (root / "etc/cdi/nvidia.yaml").touch()
    return root


def test_nvidia_cards_are_passed_by_uuid(tmp_path: Path) -> None:
    assert passed(PODMAN, "", [CUDA], cdi(tmp_path)).flags == ("--device=nvidia.com/gpu=GPU-1",)


def test_docker_without_cdi_passes_nvidia_cards_by_its_own_runtime(tmp_path: Path) -> None:
    docker = replace(DOCKER, runtimes=("runc", "nvidia"))
    found = passed(docker, "gpu_cuda", [CUDA, replace(CUDA, id="GPU-2")], tmp_path)
    assert found.flags == ("--gpus", '"device=GPU-1,GPU-2"')


def test_without_a_way_to_pass_a_card_the_reason_says_what_to_do(tmp_path: Path) -> None:
    found = passed(PODMAN, "gpu_cuda", [CUDA], tmp_path)
    assert (found.flags, found.kinds) == ((), frozenset())
    assert "nvidia-ctk cdi generate" in found.missing[0]


def test_amd_cards_are_passed_by_their_own_nodes_alone(tmp_path: Path) -> None:
    for name, address in (("renderD128", "0000:03:00.0"), ("renderD129", "0000:04:00.0")):
        device = tmp_path / "sys/devices" / address
        device.mkdir(parents=True)
        (tmp_path / "dev/dri").mkdir(parents=True, exist_ok=True)
        (tmp_path / "dev/dri" / name).touch()
        entry = tmp_path / "sys/class/drm" / name
        entry.mkdir(parents=True)
        (entry / "device").symlink_to(device)
    (tmp_path / "dev/kfd").touch()
    found = passed(PODMAN, "gpu_rocm", [ROCM, CUDA], tmp_path)
    assert found.flags == ("--device=/dev/dri/renderD128", "--device=/dev/kfd")
    assert found.kinds == {"gpu_rocm"}


@pytest.mark.parametrize(
    ("wanted", "device"),
    [
        ("cpu", CUDA),
        ("gpu_rocm", CUDA),
        ("", replace(CUDA, simulated=True)),
        ("", replace(CUDA, health=DeviceHealth.UNUSABLE)),
    ],
)
def test_nothing_is_passed_unasked(tmp_path: Path, wanted: str, device: Accelerator) -> None:
    assert passed(PODMAN, wanted, [device], cdi(tmp_path)).flags == ()


async def test_podman_says_what_it_can(tmp_path: Path) -> None:
    tool = await tools.look(scripted(tmp_path, "podman", json.dumps(PODMAN_INFO)))
    assert (tool.name, tool.rootless, tool.limits_memory, tool.limits_processes) == ("podman 5.4.0", True, True, False)


async def test_docker_says_what_it_can(tmp_path: Path) -> None:
    tool = await tools.look(scripted(tmp_path, "docker", json.dumps(DOCKER_INFO)))
    assert (tool.name, tool.rootless, tool.limits_memory, tool.limits_processes) == ("docker 28.2.2", True, True, False)
    assert "nvidia" in tool.runtimes


@pytest.mark.parametrize(
    ("said", "status", "why"),
    [
        (
            json.dumps({"ServerErrors": ["Cannot connect to the Docker daemon"]}),
            0,
            "Cannot connect to the Docker daemon",
        ),
        ("Cannot connect to the Docker daemon", 1, "Cannot connect to the Docker daemon"),
        ("not JSON", 0, "cannot be read"),
        ("[]", 0, "cannot be read"),
        (json.dumps(DOCKER_INFO | {"OperatingSystem": "Docker Desktop"}), 0, "virtual machine"),
    ],
)
async def test_a_tool_that_is_of_no_use_says_why(tmp_path: Path, said: str, status: int, why: str) -> None:
    with pytest.raises(ToolError, match=why):
        await tools.look(scripted(tmp_path, "docker", said, status))


async def test_the_first_tool_that_answers_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(tmp_path, "podman", "it is broken", 1)
    scripted(tmp_path, "docker", json.dumps(DOCKER_INFO))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert (await tools.look()).kind is ToolKind.DOCKER


async def test_docker_of_root_is_of_no_use_to_an_agent_that_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ToolError, match="use podman, or docker without root"):
        await tools.look(scripted(tmp_path, "docker", json.dumps(DOCKER_INFO | {"SecurityOptions": []})))


async def test_where_there_is_no_tool_a_launch_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    containers = Containers()
    with pytest.raises(ExecutionModeUnavailable, match="neither podman nor docker is on the agent's PATH"):
        await containers.tool()
    assert not containers.offer.available


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (None, None),
        ({"Test": ["NONE"]}, None),
        ({"Test": ["CMD", "/ok", "now"]}, ImageCheck(("/ok", "now"))),
        (
            {
                "Test": ["CMD-SHELL", "curl -f localhost"],
                "Interval": 5_000_000_000,
                "Timeout": 1_500_000_000,
                "Retries": 2,
            },
            ImageCheck(("/bin/sh", "-c", "curl -f localhost"), timedelta(seconds=5), timedelta(seconds=1.5), 2),
        ),
    ],
)
async def test_an_image_says_what_to_run_and_how_it_is(
    tmp_path: Path, check: dict[str, Any] | None, expected: ImageCheck | None
) -> None:
    described = [{"Id": "sha256:ab12", "Config": {"Entrypoint": ["/app/server"], "Healthcheck": check}}]
    tool = replace(PODMAN, path=scripted(tmp_path, "podman", json.dumps(described)))
    image = await inspect(tool, "localhost/x")
    assert (image.id, image.entrypoint, image.check) == ("ab12", ("/app/server",), expected)


def test_required_layers_are_met_by_what_does_the_same_in_a_container() -> None:
    given = layers(PODMAN, Limits(memory_per_runtime_bytes=1 << 30))
    demand(("landlock-files", "landlock-network", "own-user", "memory-limit", "process-limit"), given)


def test_a_required_layer_that_a_container_cannot_give_is_refused() -> None:
    given = layers(replace(PODMAN, limits_memory=False), Limits(memory_per_runtime_bytes=1 << 30))
    with pytest.raises(LocalPolicyDenied, match="requires memory-limit"):
        demand(("memory-limit",), given)
    given = layers(PODMAN, Limits(sandbox=Sandbox(process_limit=0)))
    assert {layer.name: layer.reason for layer in given}["process-limit"]


NOTE = ExitNote(1, 0, None, oom_killed=False, time=0.0)


@pytest.mark.parametrize(("code", "exit_code", "number"), [(0, 0, None), (3, 3, None), (137, None, 9), (143, None, 15)])
def test_the_clients_exit_code_is_told_as_the_engines(code: int, exit_code: int | None, number: int | None) -> None:
    note = translated(replace(NOTE, exit_code=code))
    assert (note.exit_code, note.signal, note.not_started) == (exit_code, number, "")


@pytest.mark.parametrize("code", [125, 126, 127])
def test_what_the_tool_could_not_start_is_no_end_of_the_engine(code: int) -> None:
    assert translated(replace(NOTE, exit_code=code)).not_started


@pytest.mark.parametrize(
    ("membership", "file"),
    [
        ("4:memory:/libpod/a\n0::/libpod/a\n", "memory/libpod/a/memory.oom_control"),
        ("0::/machine.slice/a\n", "machine.slice/a/memory.events"),
    ],
)
def test_kills_for_lack_of_memory_are_read_under_both_versions(tmp_path: Path, membership: str, file: str) -> None:
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/cgroup").write_text(membership)
    counter = tmp_path / "cgroup" / file
    counter.parent.mkdir(parents=True)
    counter.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    found = counter_of(7, tmp_path / "cgroup", tmp_path / "proc")
    assert found == counter
    assert kills(counter) == 2
    counter.unlink()
    assert kills(counter) is None
