"""The pool of connections parked at one replica of the control plane."""

from __future__ import annotations

import asyncio
import os
import random
import ssl
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from node_agent.relay.engines import Engines
from node_agent.relay.parked import Introduction, ParkedConnection
from node_agent.use_cases.ports import Doors
from wire.credentials import CONTROL_PLANE_NAME

_DIALS_AT_ONCE = 16
_CONNECTIONS = 1024
_HANDSHAKE_SECONDS = 5.0
_SETTLED_SECONDS = 1.0
"""A connection that lives this long was accepted."""
_ASKED_SECONDS = 60.0
"""How long a demand of the gateway counts."""
_SURPLUS_SECONDS = 30.0
_TICK_SECONDS = 15.0
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 10.0
_DOUBLINGS = 10
_TROUBLING = 4
"""Failures in a row that are worth a warning: for a moment a replica may not have heard of a session at another."""
_log = structlog.get_logger()


class Replica(Protocol):
    """A control plane to park at."""

    @property
    def relay_address(self) -> str:
        """As "host:port"."""

    @property
    def relay_unix_path(self) -> str:
        """Empty: not on this machine."""


@dataclass(frozen=True, slots=True)
class Outfit:
    """What every connection of this node needs."""

    node: str
    doors: Doors
    engines: Engines
    tls: Callable[[], ssl.SSLContext]


class ParkingLot:
    """Keeps enough connections idle, dials more when the gateway takes or asks, and fewer again after a while."""

    def __init__(self, replica: Replica, epoch: int, base: int, outfit: Outfit) -> None:
        self._replica = replica
        self._outfit = outfit
        self._introduction = Introduction(outfit.node, epoch)
        self._base = base
        self._asked = (0, 0.0)
        self._connections: set[ParkedConnection] = set()
        self._fresh: set[ParkedConnection] = set()
        self._busy = 0
        self._dialling = 0
        self._failures = 0
        self._retry_at = 0.0
        self._retired = False
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @property
    def idle(self) -> int:
        return len(self._connections) - self._busy

    def rebase(self, base: int) -> None:
        self._base = base
        self._wake.set()

    def park(self, idle: int) -> None:
        self._asked = (idle, self._loop.time() + _ASKED_SECONDS)
        self._wake.set()

    async def run(self) -> None:
        """Dial until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                now = self._loop.time()
                for _ in range(self._missing(now)):
                    self._dialling += 1
                    tasks.create_task(self._dial())
                await self._woken(now)
                self._shrink()

    def retire(self) -> None:
        """Close what is idle; what is busy ends after its request."""
        self._retired = True
        for connection in tuple(self._connections):
            if not connection.busy:
                connection.close()

    def arrived(self, connection: ParkedConnection) -> None:
        self._connections.add(connection)
        self._fresh.add(connection)
        self._loop.call_later(_SETTLED_SECONDS, self._settle, connection)

    def departed(self, connection: ParkedConnection) -> None:
        self._connections.discard(connection)
        self._busy = sum(other.busy for other in self._connections)
        if connection in self._fresh:
            self._fresh.discard(connection)
            self._failed("closed at once")
        self._wake.set()

    def taken(self, connection: ParkedConnection) -> None:
        self._fresh.discard(connection)
        self._busy += 1
        self._failures = 0
        self._wake.set()

    def freed(self, connection: ParkedConnection) -> None:
        self._busy = max(0, self._busy - 1)
        if self._retired:
            connection.close()

    def _goal(self) -> int:
        asked, until = self._asked
        return max(self._base, self._busy // 4, asked if self._loop.time() < until else 0)

    def _missing(self, now: float) -> int:
        if now < self._retry_at:
            return 0
        at_once = _DIALS_AT_ONCE
        if self._failures:
            at_once = 0 if self._fresh else 1
        room = min(_CONNECTIONS - len(self._connections), at_once) - self._dialling
        return max(0, min(self._goal() - self.idle - self._dialling, room))

    async def _woken(self, now: float) -> None:
        pause = self._retry_at - now
        try:
            async with asyncio.timeout(min(pause, _TICK_SECONDS) if pause > 0 else _TICK_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def _shrink(self) -> None:
        surplus = self.idle - 2 * self._goal()
        if surplus <= 0:
            return
        old = self._loop.time() - _SURPLUS_SECONDS
        waiting = sorted(
            (connection for connection in self._connections if not connection.busy and connection.idle_since < old),
            key=lambda connection: connection.idle_since,
        )
        for connection in waiting[:surplus]:
            connection.close()

    def _settle(self, connection: ParkedConnection) -> None:
        if connection in self._fresh:
            self._fresh.discard(connection)
            self._failures = 0
            self._wake.set()

    async def _dial(self) -> None:
        try:
            async with asyncio.timeout(_HANDSHAKE_SECONDS):
                await self._connect()
        except (OSError, TimeoutError, ssl.SSLError) as error:
            self._failed(f"{type(error).__name__}: {error}")
        finally:
            self._dialling -= 1
            self._wake.set()

    async def _connect(self) -> None:
        path = self._replica.relay_unix_path
        if path and _is_our_socket(path):
            await self._loop.create_unix_connection(self._protocol, path)
            return
        host, _, port = self._replica.relay_address.rpartition(":")
        if not port.isdecimal():
            raise ConnectionRefusedError(f"the replica named no relay address: {self._replica.relay_address!r}")
        await self._loop.create_connection(
            self._protocol, host.strip("[]"), int(port), ssl=self._outfit.tls(), server_hostname=CONTROL_PLANE_NAME
        )

    def _protocol(self) -> ParkedConnection:
        return ParkedConnection(self, self._introduction, self._outfit.doors, self._outfit.engines)

    def _failed(self, why: str) -> None:
        if self._retired or self._loop.time() < self._retry_at:
            return  # connections that break together are one failure
        ceiling: float = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * (1 << min(self._failures, _DOUBLINGS)))
        self._retry_at = self._loop.time() + ceiling * random.uniform(0.5, 1)  # noqa: S311 - spreads load, keeps no secret
        self._failures += 1
        if self._failures == _TROUBLING:
            _log.warning("relay_unreachable", address=self._replica.relay_address, why=why)


def _is_our_socket(path: str) -> bool:
    """A socket that another user could have put there is not trusted."""
    try:
        found = Path(path).stat()
    except OSError:
        return False
    return stat.S_ISSOCK(found.st_mode) and found.st_uid == os.getuid()
