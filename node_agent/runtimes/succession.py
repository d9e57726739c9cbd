"""A launch beside the one that serves, until it takes its place or is given up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from node_agent.domain.spec import InstanceName, InstanceSpec
from node_agent.domain.status import Problem
from node_agent.runtimes.adoption import vacate
from node_agent.runtimes.directory import ForeignFileError
from node_agent.runtimes.equipment import Equipment
from node_agent.runtimes.events import End
from node_agent.runtimes.launcher import Running
from node_agent.runtimes.life import Life
from node_agent.runtimes.standing import Standing
from node_agent.runtimes.successor import Successor

log = structlog.get_logger()


class Succession:
    def __init__(self, equipment: Equipment, standing: Standing, wake: Callable[[], None]) -> None:
        self._equipment = equipment
        self._standing = standing
        self._wake = wake

    @property
    def is_asked(self) -> bool:
        """Whether the task that asks looks after what starts beside the engine that serves."""
        heir = self._standing.successor
        return heir is not None and heir.task is asyncio.current_task()

    def launch(
        self,
        spec: InstanceSpec,
        live: Callable[[Callable[[], Awaitable[End]]], Coroutine[Any, Any, None]],
        group: asyncio.TaskGroup,
    ) -> None:
        """`live`: looks after what the launch comes to."""
        standing = self._standing
        label, reserve = standing.other_label, standing.memory.reserve_beside
        heir = Successor(spec, standing.other_berth, self._wake, lambda: self._survives(label))
        standing.memory.refuses("", None)

        async def begin() -> End:
            return await Life(self._equipment, heir.home, spec, reserve, heir.hear, label=label).run()

        standing.successor = heir
        heir.task = group.create_task(live(begin))
        standing.report.aside(f"settings of generation {spec.generation} start beside it")

    async def abandon(self) -> None:
        """Nothing is left beside the engine that serves."""
        heir = self._standing.successor
        if heir is None:
            return
        log.info("instance_successor_ends", instance=self._standing.memory.name)
        self._standing.successor = None
        self._standing.report.aside("")
        if heir.task is not None:
            heir.task.cancel()
            await asyncio.wait([heir.task])
        await self.vacate(heir.running)

    async def refused(self, problem: Problem) -> None:
        """The engine that serves goes on with its own settings."""
        heir = self._standing.successor
        if heir is not None:
            await self.vacate(heir.running)
            self._standing.refuse(heir.spec, problem)

    async def vacate(self, running: Running | None) -> None:
        """End what lies in the other berth; it is held as `running` where that is known."""
        label, timers = self._standing.other_label, self._equipment.timers
        try:
            berth = self._standing.other_berth
            pid = await vacate(berth, timers.stop_grace, lambda: self._survives(label), running)
        except (OSError, ForeignFileError) as error:
            log.warning("berth_not_vacated", instance=self._standing.memory.name, error=str(error))
            return
        self._equipment.survivors.gone(label)
        self._equipment.device_memory.ended(label)
        if pid is not None:
            log.info("instance_berth_vacated", instance=self._standing.memory.name, pid=pid)

    def _survives(self, label: InstanceName) -> None:
        self._equipment.device_memory.survives(label)
        self._equipment.survivors.seen(label)
