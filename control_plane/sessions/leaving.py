"""Sends nodes to other replicas, in their own time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog

from control_plane.domain.errors import Draining
from control_plane.sessions.connection import AgentConnection
from control_plane.sessions.registry import Registry

DRAIN_FLOOR = timedelta(seconds=5)
DRAIN_PER_SECOND = 100

_log = structlog.get_logger()


class Leaving:
    def __init__(self, registry: Registry[AgentConnection]) -> None:
        self._registry = registry
        self._draining = self._aside = False
        self._left = asyncio.Event()

    def check(self) -> None:
        """Draining while no session may begin."""
        if self._draining:
            raise draining()
        if self._aside:
            raise _stepped_aside()

    def drain(self) -> timedelta:
        self._draining = True
        return self._send_away()

    def step_aside(self) -> None:
        if not self._aside:
            self._aside = True
            _log.warning("stepped_aside", sessions=len(self._registry), within=self._send_away().total_seconds())

    def come_back(self) -> None:
        self._aside = False

    def one_left(self) -> None:
        self._left.set()

    async def left(self, within: timedelta) -> None:
        try:
            async with asyncio.timeout(within.total_seconds()):
                while len(self._registry):
                    self._left.clear()
                    await self._left.wait()
        except TimeoutError:
            return

    def _send_away(self) -> timedelta:
        within = max(DRAIN_FLOOR, timedelta(seconds=len(self._registry) / DRAIN_PER_SECOND))
        for connection in self._registry:
            connection.drain(within)
        return within


def draining() -> Draining:
    return Draining("This control plane is stopping.", "The node reconnects by itself.")


def _stepped_aside() -> Draining:
    return Draining("This replica of the control plane has lost its database.", "The node goes to another by itself.")
