"""What keeps an engine in a container from what is not its own, in the words of the native sandbox where they fit."""

from __future__ import annotations

from collections.abc import Iterator

from node_agent.domain.errors import LocalPolicyDenied
from node_agent.domain.limits import Limits
from node_agent.domain.sandbox import SandboxLayer
from node_agent.runtimes.containers.tool import ContainerTool
from node_agent.runtimes.sandbox import cgroup, confine, landlock

NETWORK, ROOT, PROCESSES, USER = "container-network", "container-files", "container-processes", "container-user"
STANDS_FOR = {
    landlock.FILES: ROOT,
    landlock.NETWORK: NETWORK,
    landlock.SCOPE: PROCESSES,
    confine.OWN_USER: USER,
}
"""What does in a container what each native layer does."""
ALWAYS = (USER, ROOT, NETWORK, PROCESSES, confine.CAPABILITIES, confine.NO_NEW_PRIVILEGES, confine.ENVIRONMENT)


def layers(tool: ContainerTool, limits: Limits) -> tuple[SandboxLayer, ...]:
    return (*(SandboxLayer(name, in_force=True) for name in ALWAYS), *_limits(tool, limits))


def _limits(tool: ContainerTool, limits: Limits) -> Iterator[SandboxLayer]:
    wanted = {cgroup.MEMORY: limits.memory_per_runtime_bytes, cgroup.PIDS: limits.sandbox.process_limit}
    able = {cgroup.MEMORY: tool.limits_memory, cgroup.PIDS: tool.limits_processes}
    for name, amount in wanted.items():
        reason = "" if amount and able[name] else cgroup.NO_LIMIT[name] if not amount else f"{tool.name} cannot set it"
        yield SandboxLayer(name, not reason, reason)


def demand(required: tuple[str, ...], given: tuple[SandboxLayer, ...]) -> None:
    """LocalPolicyDenied when the owner requires a layer that this container would not have."""
    there = {layer.name for layer in given if layer.in_force}
    for name in required:
        if STANDS_FOR.get(name, name) not in there:
            raise LocalPolicyDenied(
                f"This node requires {name} of every engine's sandbox, and its containers cannot give it.",
                "Make it possible there, or ask the owner of the node: rule sandbox.required in its node_agent.toml.",
                layer=name,
                rule="sandbox.required",
            )
