"""Connections to engines on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any, Protocol

from node_agent.domain.progress import Traffic
from node_agent.domain.spec import Hold, InstanceName
from node_agent.use_cases.ports import EngineDoor
from wire.byte_pump import Source, Watchdog

IDLE_SECONDS = 1.0
"""An engine spends a thread on an idle connection that its probes may need."""
IDLE_CONNECTIONS = 64
CONNECT_SECONDS = 5.0
_CLOSE_SECONDS = 2.0

Key = tuple[InstanceName, str, int, str]


class Carried(Protocol):
    """A request that waits for an engine, then has it to itself."""

    @property
    def hold(self) -> Hold:
        """Under which it was let in."""

    @property
    def port(self) -> int:
        """Of its engine."""

    @property
    def over(self) -> bool: ...

    @property
    def began(self) -> float:
        """Loop time."""

    @property
    def last_byte(self) -> float | None:
        """Loop time; None: the engine sent nothing yet."""

    @property
    def held(self) -> bool:
        """The answer waits for its reader."""

    def carry(self, engine: EngineConnection) -> None: ...

    def unreachable(self) -> None:
        """Nobody listens where the engine should."""

    def received(self, data: bytes) -> None: ...

    def broken(self) -> None:
        """The engine closed the connection."""

    def stop(self) -> None:
        """The engine will be stopped: end now."""

    def displace(self) -> None:
        """Its hold is over: end now."""


class EngineConnection(Source):
    def __init__(self, engines: Engines, key: Key) -> None:
        self._engines = engines
        self.key = key
        self.used = 0
        """Requests begun on it."""
        self.lost = asyncio.Event()
        self._carried: Carried | None = None
        self._idle = Watchdog(self.close)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._engines.joined(self)

    def borrow(self, carried: Carried, message: bytes) -> None:
        self._idle.rest()
        self._carried = carried
        self.used += 1
        self.transport.write(message)

    def free(self) -> None:
        self._carried = None

    def rest(self) -> None:
        """Wait for another request, but not long."""
        self._idle.within(IDLE_SECONDS)

    def data_received(self, data: bytes) -> None:
        if self._carried is None:
            self.abort()
        else:
            self._carried.received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._idle.stop()
        self._engines.left(self)
        self.lost.set()
        carried, self._carried = self._carried, None
        if carried is not None:
            carried.broken()


class Engines:
    """Lends connections, newest first, and knows which request is where, so that an instance can be cut off."""

    def __init__(self) -> None:
        self._idle: dict[Key, list[EngineConnection]] = {}
        self._connections: dict[InstanceName, set[EngineConnection]] = {}
        self._requests: dict[InstanceName, set[Carried]] = {}
        self._last_byte: dict[tuple[InstanceName, int], float] = {}
        """Of requests that ended while others were in hand."""
        self._spawn: Callable[[Coroutine[Any, Any, None]], object] | None = None

    def open(self, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        """Connect through this task group from now on."""
        self._spawn = spawn

    def begin(self, instance: InstanceName, carried: Carried) -> None:
        self._requests.setdefault(instance, set()).add(carried)

    def end(self, instance: InstanceName, carried: Carried) -> None:
        here, key = self._requests.get(instance, set()), (instance, carried.port)
        here.discard(carried)
        if not here:
            self._requests.pop(instance, None)
        if not self._in_hand(instance, carried.port):
            self._last_byte.pop(key, None)
        elif carried.last_byte is not None:
            self._last_byte[key] = max(carried.last_byte, self._last_byte.get(key, 0.0))

    def traffic(self, instance: InstanceName, port: int = 0) -> Traffic | None:
        """None: nothing is asked of its engine. `port`: of one engine, while another takes its place; 0: of any."""
        here = self._in_hand(instance, port)
        if not here:
            return None
        ended = [at for (name, of), at in self._last_byte.items() if name == instance and port in (0, of)]
        begun = [carried.last_byte for carried in here if carried.last_byte is not None]
        return Traffic(
            requests=len(here),
            since=min(carried.began for carried in here),
            last_byte=max([*begun, *ended], default=None),
            answering=bool(begun),
            held=any(carried.held for carried in here),
        )

    def _in_hand(self, instance: InstanceName, port: int) -> list[Carried]:
        return [carried for carried in self._requests.get(instance, ()) if port in (0, carried.port)]

    def lend(self, instance: InstanceName, door: EngineDoor, carried: Carried, *, fresh: bool = False) -> None:
        """`fresh`: not one that waited, since the engine may have closed it meanwhile."""
        key = (instance, door.host, door.port, door.api_key)
        connection = None if fresh else self._newest(key)
        if connection is not None:
            carried.carry(connection)
        elif self._spawn is None:
            carried.unreachable()
        else:
            self._spawn(self._connect(key, carried))

    def take_back(self, connection: EngineConnection) -> None:
        waiting = self._idle.setdefault(connection.key, [])
        if connection.open and len(waiting) < IDLE_CONNECTIONS:
            waiting.append(connection)
            connection.rest()
        else:
            connection.close()

    def hand_over(self, instance: InstanceName, holds: Collection[Hold]) -> None:
        """End every request of the instance that came in under none of these."""
        for carried in tuple(self._requests.get(instance, ())):
            if carried.hold not in holds:
                carried.displace()

    async def close(self, instance: InstanceName, port: int = 0) -> None:
        """End every request of the instance and return when no connection to its engine is left.

        `port`: of one engine, while another takes its place; 0: of any.
        """
        for carried in self._in_hand(instance, port):
            carried.stop()
        connections = [each for each in self._connections.get(instance, ()) if port in (0, each.key[2])]
        for connection in connections:
            connection.abort()
        async with asyncio.timeout(_CLOSE_SECONDS):
            for connection in connections:
                await connection.lost.wait()

    def joined(self, connection: EngineConnection) -> None:
        self._connections.setdefault(connection.key[0], set()).add(connection)

    def left(self, connection: EngineConnection) -> None:
        of_instance = self._connections[connection.key[0]]
        of_instance.discard(connection)
        if not of_instance:
            del self._connections[connection.key[0]]
        waiting = self._idle.get(connection.key, [])
        if connection in waiting:
            waiting.remove(connection)
        if not waiting:
            self._idle.pop(connection.key, None)

    def _newest(self, key: Key) -> EngineConnection | None:
        waiting = self._idle.get(key, [])
        while waiting:
            connection = waiting.pop()
            if connection.open:
                return connection
        return None

    async def _connect(self, key: Key, carried: Carried) -> None:
        connection = await self._connected(key)
        if carried.over:
            if connection is not None:
                connection.close()
        elif connection is None:
            carried.unreachable()
        else:
            carried.carry(connection)

    async def _connected(self, key: Key) -> EngineConnection | None:
        _, host, port, _ = key
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(lambda: EngineConnection(self, key), host, port)
        except (OSError, TimeoutError):
            return None
        return connection
