"""Ends what is left of a launch's container."""

from __future__ import annotations

import structlog

from node_agent.runtimes.containers.attendant import tool_of
from node_agent.runtimes.containers.tool import ToolError, ToolKind
from node_agent.runtimes.records import LaunchRecord

log = structlog.get_logger()

GONE = "no such container"


async def removed(launch: LaunchRecord | None) -> bool:
    """Whether nothing of it is left. The tool kills what runs: no grace is given here."""
    if launch is None or launch.container is None:
        return True
    container = launch.container
    tool = tool_of(launch, container)
    now = ("--time", "0", "--ignore") if tool.kind is ToolKind.PODMAN else ()
    try:
        await tool.ask("rm", "--force", "--volumes", *now, container.name)
    except ToolError as error:
        if GONE in str(error).lower():
            return True
        log.warning("container_not_removed", container=container.name, error=str(error))
        return False
    return True
