"""Containers on this machine: whether they are to be had, and the images that engines lie in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from node_agent.domain.errors import EngineNotFound, ExecutionModeUnavailable
from node_agent.domain.inventory import Engine, ExecutionOffer
from node_agent.domain.spec import ExecutionMode
from node_agent.runtimes.containers import tool as tools
from node_agent.runtimes.containers.arguments import question_prefix
from node_agent.runtimes.containers.image import Image, inspect
from node_agent.runtimes.containers.strays import end_strays
from node_agent.runtimes.containers.tool import ContainerTool, ToolError

log = structlog.get_logger()

FIRST_LOOK_S = 1.0
"""After the start, when the node has better things to do."""
GOOD_FOR_S = 600.0
BAD_FOR_S = 60.0
"""How long an answer counts: one who has just installed podman does not wait long."""


class Containers:
    """Asks the tool seldom, and remembers the answer."""

    def __init__(self, configured: Callable[[], str] = lambda: "", instances: Path = Path()) -> None:
        """`configured`: the path of the tool that the owner chose; empty: whichever there is."""
        self._configured = configured
        self._instances = instances
        self._asked = ""
        self._tool: ContainerTool | None = None
        self._why = "it was not looked for yet"
        self._until = 0.0
        self._turn = asyncio.Lock()
        self._listeners: list[Callable[[], None]] = []

    def on_change(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    async def run(self) -> None:
        """Look from time to time, until cancelled; once there is a tool, end what nobody looks after."""
        self.on_change(lambda: log.info("containers", available=self.offer.available, detail=self.offer.detail))
        swept = False
        while True:
            await asyncio.sleep(FIRST_LOOK_S if self._until == 0.0 else BAD_FOR_S)
            await self.look()
            if self._tool is not None and not swept:
                await end_strays(self._tool, self._instances)
                swept = True

    @property
    def offer(self) -> ExecutionOffer:
        """As of the last look."""
        if self._tool is None:
            return ExecutionOffer(ExecutionMode.CONTAINER, available=False, detail=self._why)
        return ExecutionOffer(ExecutionMode.CONTAINER, available=True, detail=self._tool.name)

    async def look(self) -> ExecutionOffer:
        async with self._turn:
            configured, now = self._configured(), asyncio.get_running_loop().time()
            if now >= self._until or configured != self._asked:
                await self._look(configured)
                self._asked, self._until = configured, now + (GOOD_FOR_S if self._tool is not None else BAD_FOR_S)
        return self.offer

    async def _look(self, configured: str) -> None:
        before = self.offer
        try:
            self._tool = await tools.look(configured)
        except ToolError as error:
            self._tool, self._why = None, str(error)
        if self.offer != before:
            for listener in self._listeners:
                listener()

    async def tool(self) -> ContainerTool:
        """ExecutionModeUnavailable."""
        await self.look()
        if self._tool is None:
            raise ExecutionModeUnavailable(
                f"Nothing on this node runs containers: {self._why}.",
                "Install podman, or let the runtime run natively.",
            )
        return self._tool

    async def image(self, engine: Engine) -> Image:
        """By its id: a tag that was moved since means nothing. EngineNotFound when it is gone."""
        ((name, image_id),) = engine.digests
        try:
            return await inspect(await self.tool(), image_id)
        except ToolError as error:
            raise not_here(engine.adapter, name, str(error)) from error

    async def asked(self, engine: Engine, devices: Sequence[str]) -> Engine:
        """The engine as its adapter asks it what it can do: each question is a container of its own."""
        tool = await self.tool()
        ((_, image_id),) = engine.digests
        command = question_prefix(tool, image_id, engine.command, devices)
        return replace(engine, command=tuple(command), environment=tuple(tool.environment.items()))


def not_here(adapter: str, name: str, why: str) -> EngineNotFound:
    return EngineNotFound(
        f"The image {name} is not on this node: {why}.",
        f"Pull or build it there, then: arw-node-agent trust {adapter} --image {name}",
        image=name,
    )
