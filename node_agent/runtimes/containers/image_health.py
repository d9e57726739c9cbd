"""Runs an image's own health check: podman leaves that to systemd, docker to its daemon, and neither need be there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from node_agent.runtimes.containers.tool import ContainerTool, ToolError
from node_agent.runtimes.records import CheckRecord


class ImageHealth:
    def __init__(self, tool: ContainerTool, container: str, check: CheckRecord, tell: Callable[[str], None]) -> None:
        """`tell`: what is wrong once the check has failed as often as the image allows; empty when it is well."""
        self._tool = tool
        self._container = container
        self._check = check
        self._tell = tell

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            await asyncio.sleep(self._check.interval_s)
            complaint = await self._complaint()
            failures = failures + 1 if complaint else 0
            self._tell(complaint if failures >= self._check.retries else "")

    async def _complaint(self) -> str:
        try:
            await self._tool.ask("exec", self._container, *self._check.command, patience_s=self._check.timeout_s)
        except ToolError as error:
            return str(error)
        return ""
