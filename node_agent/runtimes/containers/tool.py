"""The container tool of this machine: podman or docker, and what it can do here."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

KNOWN = ("podman", "docker")
"""In the order in which they are tried: podman needs no daemon and no root."""
INHERITED = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "DBUS_SESSION_BUS_ADDRESS",
    "TMPDIR",
    "CONTAINERS_CONF",
    "CONTAINERS_STORAGE_CONF",
    "CONTAINERS_REGISTRIES_CONF",
    "CONTAINER_HOST",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
)
"""Of the agent's environment: how the tool finds its storage, its settings and its daemon."""
PATIENCE_S = 20.0


class ToolKind(StrEnum):
    PODMAN = "podman"
    DOCKER = "docker"


class ToolError(Exception):
    """What the tool said when it refused, or why it could not be asked."""


@dataclass(frozen=True, slots=True)
class ContainerTool:
    path: str
    kind: ToolKind
    version: str = ""
    rootless: bool = False
    limits_memory: bool = True
    limits_processes: bool = True
    runtimes: tuple[str, ...] = ()
    """Names of further OCI runtimes that docker knows, such as "nvidia"."""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.kind} {self.version}".strip()

    async def ask(self, *words: str, patience_s: float = PATIENCE_S) -> str:
        """What it prints. ToolError when it fails or takes too long."""
        return await run([self.path, *words], self.environment, patience_s)


async def run(argv: Sequence[str], environment: Mapping[str, str], patience_s: float) -> str:
    """Standard output of a command that succeeds; ToolError with its last words otherwise."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise ToolError(f"{argv[0]} cannot be run: {error.strerror}") from error
    try:
        async with asyncio.timeout(patience_s):
            said, complaint = await process.communicate()
    except TimeoutError as error:
        raise ToolError(f"{_words(argv)} did not answer within {patience_s:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise ToolError(_last_line(complaint) or _last_line(said) or f"{_words(argv)}: status {process.returncode}")
    return said.decode(errors="replace")


async def look(configured: str = "") -> ContainerTool:
    """The tool to use: the owner's, else the first that answers. ToolError says why there is none."""
    if sys.platform != "linux":
        raise ToolError("containers run in a virtual machine here, which has none of this machine's accelerators")
    found = [path for name in KNOWN if (path := shutil.which(name))]
    candidates = [configured] if configured else found
    complaints = []
    for path in candidates:
        try:
            return _usable(await _described(path))
        except ToolError as error:
            complaints.append(f"{Path(path).name}: {error}")
    raise ToolError("; ".join(complaints) or f"neither {' nor '.join(KNOWN)} is on the agent's PATH")


def inherited() -> dict[str, str]:
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


def _usable(tool: ContainerTool) -> ContainerTool:
    """The network of a container is entered by whom its processes belong to."""
    if tool.kind is ToolKind.DOCKER and not tool.rootless and os.geteuid() != 0:
        raise ToolError("its containers belong to root and this agent does not: use podman, or docker without root")
    return tool


async def _described(path: str) -> ContainerTool:
    environment = inherited()
    said = await run([path, "info", "--format", "{{json .}}"], environment, PATIENCE_S)
    try:
        info: dict[str, Any] = msgspec.json.decode(said, type=dict[str, Any])
        return _podman(path, environment, info) if "host" in info else _docker(path, environment, info)
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
        raise ToolError("its answer to `info` cannot be read") from error


def _podman(path: str, environment: Mapping[str, str], info: dict[str, Any]) -> ContainerTool:
    host = info["host"]
    controllers = host.get("cgroupControllers") or []
    return ContainerTool(
        path,
        ToolKind.PODMAN,
        info["version"]["Version"],
        rootless=host["security"]["rootless"],
        limits_memory="memory" in controllers,
        limits_processes="pids" in controllers,
        environment=environment,
    )


def _docker(path: str, environment: Mapping[str, str], info: dict[str, Any]) -> ContainerTool:
    if info.get("ServerErrors"):
        raise ToolError("; ".join(info["ServerErrors"]))
    if "Docker Desktop" in info.get("OperatingSystem", ""):
        raise ToolError("containers run in a virtual machine here, which has none of this machine's accelerators")
    return ContainerTool(
        path,
        ToolKind.DOCKER,
        info["ServerVersion"],
        rootless=any("name=rootless" in option for option in info.get("SecurityOptions") or ()),
        limits_memory=bool(info.get("MemoryLimit")),
        limits_processes=bool(info.get("PidsLimit")),
        runtimes=tuple(info.get("Runtimes") or ()),
        environment=environment,
    )


def _words(argv: Sequence[str]) -> str:
    return " ".join((Path(argv[0]).name, *argv[1:2]))


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1][:400] if lines else ""
