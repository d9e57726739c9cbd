"""Keeps an agent that died again and again from doing what may have killed it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import structlog

from node_agent.domain.crash_loop import CrashTimers, loops, safe_mode
from node_agent.domain.inventory import Inventory
from node_agent.domain.status import Problem
from node_agent.use_cases.hardware_view import HardwareView
from node_agent.use_cases.ports import Hardware

log = structlog.get_logger()


class Starts(Protocol):
    def begin(self) -> int: ...

    def forget(self) -> None: ...


class Guard(Protocol):
    """Knows a reason why the whole node takes nothing new."""

    def problem(self) -> Problem | None: ...

    def on_change(self, listener: Callable[[], None]) -> None: ...


class SafeMode:
    """Safe after three deaths in a row, until it lived for ten minutes. What is offered then takes nothing new."""

    def __init__(self, node: str, starts: Starts, timers: CrashTimers) -> None:
        self._starts = starts
        self._timers = timers
        died = starts.begin()
        self._problem: Problem | None = safe_mode(node, died) if loops(died) else None
        self._listeners: list[Callable[[], None]] = []
        if self._problem is not None:
            log.error("agent_safe_mode", text=self._problem.text, remedy=self._problem.remedy)

    def problem(self) -> Problem | None:
        """None: it acts."""
        return self._problem

    def hands_off(self) -> bool:
        return self._problem is not None

    def on_change(self, listener: Callable[[], None]) -> None:
        """Called on the loop when it is left."""
        self._listeners.append(listener)

    async def run(self) -> None:
        patience = self._timers.trusted if self._problem else self._timers.settled
        await asyncio.sleep(patience.total_seconds())
        self._starts.forget()
        if self._problem is not None:
            self._problem = None
            log.info("agent_safe_mode_left")
            for listener in self._listeners:
                listener()

    def ended_in_order(self) -> None:
        """One that is told to end did not die; but in safe mode that proves nothing."""
        if self._problem is None:
            self._starts.forget()


class GuardedHardware(HardwareView):
    """In safe mode, or short of room, the node says so and takes nothing new."""

    def __init__(self, hardware: Hardware, *guards: Guard) -> None:
        """The first of `guards` that has a problem is heard."""
        super().__init__(hardware)
        self._guards = guards
        for guard in guards:
            guard.on_change(self.tell)

    def _shown(self, inventory: Inventory) -> Inventory:
        problem = next((problem for guard in self._guards if (problem := guard.problem())), None)
        return inventory if problem is None else replace(inventory, limits=replace(inventory.limits, closed=problem))
