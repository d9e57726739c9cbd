"""The command line that runs an engine in a container, with no more rights than it needs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from node_agent.domain.errors import SpecInvalid
from node_agent.runtimes.containers.tool import INHERITED, ContainerTool, ToolKind
from node_agent.runtimes.kinds.adapter import Command

NOBODY = 65534
TMP_BYTES = 64 << 20
SHARED_BYTES = 1 << 30
"""For the parts of one engine to meet in; only what is used of it counts."""
HOSTS_OWN = ("PATH", "LD_LIBRARY_PATH", "GGML_BACKEND_PATH")
QUESTION_S = 60
NAME_LABEL = "arw.instance"
HOME_LABEL = "arw.home"


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder that has the same path within as without."""

    path: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Wish:
    """One launch, as far as its container depends on it."""

    name: str
    """Of the container."""
    instance: str
    home: str
    image_id: str
    mounts: tuple[Mount, ...] = ()
    devices: tuple[str, ...] = ()
    """Flags that pass the accelerators."""
    memory_bytes: int = 0
    processes: int = 0
    """0 is no limit for both."""
    in_parts: bool = False


def run_arguments(tool: ContainerTool, wish: Wish, command: Command) -> tuple[str, ...]:
    """`podman run` or `docker run`, in the foreground: the engine's output and end are the client's."""
    program, *options = command.argv
    return (
        *(tool.path, "run", "--name", wish.name),
        *("--label", f"{NAME_LABEL}={wish.instance}", "--label", f"{HOME_LABEL}={wish.home}"),
        *("--log-driver", "none", "--no-healthcheck"),
        *confinement(tool),
        *_limits(tool, wish),
        *(("--shm-size", str(SHARED_BYTES)) if wish.in_parts else ()),
        *wish.devices,
        *(word for mount in wish.mounts for word in ("--mount", _mount(mount))),
        *_variables(command),
        *(("--workdir", command.directory) if command.directory else ()),
        *("--entrypoint", program, wish.image_id, *options),
    )


def question_prefix(tool: ContainerTool, image_id: str, entrypoint: Sequence[str], devices: Sequence[str]) -> list[str]:
    """What stands before the options when an engine is asked what it can do: nobody waits longer than its time."""
    program, *first = entrypoint
    return [
        *(tool.path, "run", "--rm", "--log-driver", "none", "--no-healthcheck"),
        *(("--timeout", str(QUESTION_S)) if tool.kind is ToolKind.PODMAN else ()),
        *confinement(tool),
        *devices,
        *("--entrypoint", program, image_id, *first),
    ]


def confinement(tool: ContainerTool) -> tuple[str, ...]:
    return (
        *("--pull", "never", "--network", "none"),
        *("--read-only", "--tmpfs", f"/tmp:rw,nosuid,nodev,size={TMP_BYTES}"),  # noqa: S108 - the container's own
        *("--cap-drop", "all", "--security-opt", "no-new-privileges"),
        *_user(tool),
    )


def _user(tool: ContainerTool) -> tuple[str, ...]:
    """Nobody within. Without root, the files it is given belong to the agent's user, which must be that nobody."""
    if not tool.rootless:
        return ("--user", f"{NOBODY}:{NOBODY}")
    if tool.kind is ToolKind.PODMAN:
        return ("--userns", f"keep-id:uid={NOBODY},gid={NOBODY}", "--user", f"{NOBODY}:{NOBODY}")
    return ("--user", "0:0")


def _limits(tool: ContainerTool, wish: Wish) -> Iterator[str]:
    if wish.memory_bytes and tool.limits_memory:
        yield from ("--memory", str(wish.memory_bytes), "--memory-swap", str(wish.memory_bytes))
    if wish.processes and tool.limits_processes:
        yield from ("--pids-limit", str(wish.processes))


def _mount(mount: Mount) -> str:
    if any(mark in mount.path for mark in ',"\n\r'):
        raise SpecInvalid(
            f"{mount.path!r} cannot be given to a container: its path has a comma, a quotation mark or a line break.",
            "Rename it, or let the runtime run natively.",
        )
    return f"type=bind,src={mount.path},dst={mount.path}{'' if mount.writable else ',ro'}"


def client_environment(tool: ContainerTool, command: Command) -> dict[str, str]:
    passed_on = {name: value for name, value in _of_container(command).items() if name not in INHERITED}
    return {**passed_on, **tool.environment}


def _of_container(command: Command) -> dict[str, str]:
    """All but what was inherited and names files of this machine."""
    inherited = {(name, os.environ.get(name, os.defpath)) for name in HOSTS_OWN}
    return {name: value for name, value in command.env.items() if (name, value) not in inherited}


def _variables(command: Command) -> Iterator[str]:
    """By name alone where the client makes nothing of it: it passes on its own value, which others cannot see."""
    for name, value in sorted(_of_container(command).items()):
        yield from ("--env", f"{name}={value}" if name in INHERITED else name)
