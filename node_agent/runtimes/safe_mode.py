"""Keeps an agent that died again and again from doing what may have killed it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import structlog

from node_agent.domain.crash_loop import CrashTimers, loops, safe_mode
from node_agent.domain.inventory import Inventory, NodeUsage
from node_agent.domain.status import Problem

log = structlog.get_logger()


class Starts(Protocol):
    def begin(self) -> int: ...

    def forget(self) -> None: ...


class Hardware(Protocol):
    """The machine as it is offered."""

    async def inventory(self) -> Inventory: ...

    def usage(self) -> NodeUsage | None: ...

    def on_change(self, listener: Callable[[Inventory], None]) -> None: ...


class SafeMode:
    """Safe after three deaths in a row, until it lived for ten minutes. What is offered then takes nothing new."""

    def __init__(self, node: str, starts: Starts, timers: CrashTimers) -> None:
        self._starts = starts
        self._timers = timers
        died = starts.begin()
        self._problem: Problem | None = safe_mode(node, died) if loops(died) else None
        self._on_leave: list[Callable[[], None]] = []
        if self._problem is not None:
            log.error("agent_safe_mode", text=self._problem.text, remedy=self._problem.remedy)

    def problem(self) -> Problem | None:
        """None: it acts."""
        return self._problem

    def hands_off(self) -> bool:
        return self._problem is not None

    def on_leave(self, listener: Callable[[], None]) -> None:
        self._on_leave.append(listener)

    async def run(self) -> None:
        patience = self._timers.trusted if self._problem else self._timers.settled
        await asyncio.sleep(patience.total_seconds())
        self._starts.forget()
        if self._problem is not None:
            self._problem = None
            log.info("agent_safe_mode_left")
            for listener in self._on_leave:
                listener()

    def ended_in_order(self) -> None:
        """One that is told to end did not die; but in safe mode that proves nothing."""
        if self._problem is None:
            self._starts.forget()


class GuardedHardware:
    """Implements the link's InventorySource: in safe mode the node says so, and takes nothing new."""

    def __init__(self, hardware: Hardware, mode: SafeMode) -> None:
        self._hardware = hardware
        self._mode = mode
        self._last: Inventory | None = None
        self._listeners: list[Callable[[Inventory], None]] = []
        hardware.on_change(self._changed)
        mode.on_leave(self._tell)

    async def inventory(self) -> Inventory:
        self._last = await self._hardware.inventory()
        return self._guarded(self._last)

    def usage(self) -> NodeUsage | None:
        return self._hardware.usage()

    def on_change(self, listener: Callable[[Inventory], None]) -> None:
        self._listeners.append(listener)

    def _changed(self, inventory: Inventory) -> None:
        self._last = inventory
        self._tell()

    def _tell(self) -> None:
        if self._last is not None:
            for listener in self._listeners:
                listener(self._guarded(self._last))

    def _guarded(self, inventory: Inventory) -> Inventory:
        problem = self._mode.problem()
        return inventory if problem is None else replace(inventory, limits=replace(inventory.limits, closed=problem))
