"""Containers of this node whose instance directory is gone, as when somebody removed it by hand."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from node_agent.runtimes.containers.arguments import HOME_LABEL
from node_agent.runtimes.containers.tool import ContainerTool, ToolError

log = structlog.get_logger()

LABEL = f'{{{{index .Config.Labels "{HOME_LABEL}"}}}}'


async def end_strays(tool: ContainerTool, instances: Path) -> None:
    """Nobody would ever look after them again. What the tool refuses is said, and tried at the next start."""
    try:
        for container in (await tool.ask("ps", "--all", "--quiet", "--filter", f"label={HOME_LABEL}")).split():
            home = Path((await tool.ask("inspect", "--format", LABEL, container)).strip())
            if home.parent == instances and not await asyncio.to_thread(home.exists):
                log.warning("stray_container_ended", container=container, home=str(home))
                await tool.ask("rm", "--force", container)
    except ToolError as error:
        log.warning("stray_containers_unknown", error=str(error))
