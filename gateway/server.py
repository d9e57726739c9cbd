"""The gateway as a whole: two listeners, one door for clients and one for nodes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from gateway.application import ApplicationPool
from gateway.client import ClientConnection
from gateway.dispatch import Dispatch
from gateway.guest import Guest
from gateway.holding import Holding
from gateway.ports import Caller, Callers, Demand, Meter, RelayGate, Routes
from gateway.refusals import NotServing
from gateway.relay import ParkedConnection, Relay
from gateway.settings import GatewaySettings
from wire.http_head import Request
from wire.trace import TraceContext

_BACKLOG = 1024
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Ports:
    """What the gateway is filled with."""

    routes: Routes
    callers: Callers
    meter: Meter
    gate: RelayGate
    demand: Demand


@dataclass(frozen=True, slots=True)
class Listen:
    """A TCP listener. `tls` None: clear text, for loopback only; the relay always has it."""

    host: str = "127.0.0.1"
    port: int = 0
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class Bound:
    """The ports that were really taken; 0: no such listener."""

    http: int
    relay: int


@dataclass(frozen=True, slots=True)
class Listeners:
    http: Listen
    relay: Listen | None = None
    relay_socket: Path | None = None
    application_socket: Path | None = None
    """Where the ASGI application listens."""


class Gateway:
    def __init__(
        self, ports: Ports, listeners: Listeners, settings: GatewaySettings | None = None, *, grace: float = 10
    ) -> None:
        """`grace`: seconds that requests in hand get when the gateway stops."""
        self.draining = False
        self.settings = settings or GatewaySettings()
        self.holding = Holding(self.settings.held_bytes)
        self._listeners = listeners
        self._grace = grace
        self._clients: set[ClientConnection] = set()
        self._empty = asyncio.Event()
        self._relay = Relay(ports.gate, ports.demand, self.settings)
        self._application = ApplicationPool(listeners.application_socket)
        self._dispatch = Dispatch(
            ports.routes,
            ports.callers,
            ports.meter,
            relay=self._relay,
            application=self._application,
            settings=self.settings,
        )

    def drop_node(self, node: str) -> None:
        """Close all relay connections of a node at once: its session ended or was revoked."""
        self._relay.drop_node(node)

    def ask(self, request: Request, caller: Caller, trace: TraceContext) -> Guest:
        """For one inside this process. The guest has to leave, whatever comes; GatewayRefusal."""
        if self.draining:
            raise NotServing("The gateway is stopping.", "Try again in a moment.", retry_after=1)
        guest = Guest()
        guest.begin(self._dispatch.asked(request, caller)(guest, trace))
        return guest

    @property
    def loading(self) -> int:
        """Requests that wait until what they name is loaded."""
        return len(self._dispatch.loading)

    def look_again(self) -> None:
        """What serves is not what it was: some may wait for it."""
        self._dispatch.loading.look_again()

    def parked(self, node: str) -> int:
        """Idle relay connections of a node."""
        return self._relay.pool(node).idle

    async def run(self, started: Callable[[Bound], None]) -> None:
        """Serve until cancelled; then let requests in hand end within the grace."""
        async with self.serving() as bound:
            started(bound)
            await asyncio.Event().wait()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Bound]:
        async with asyncio.TaskGroup() as tasks:
            self._application.open(tasks.create_task)
            servers = [await self._listen_http(), *await self._listen_relay()]
            try:
                yield Bound(_port(servers[0]), _port(servers[1]) if self._listeners.relay else 0)
            finally:
                await self._stop(servers)

    def arrived(self, connection: ClientConnection) -> None:
        self._clients.add(connection)
        if self.draining or len(self._clients) > self.settings.connections:
            _log.warning("client_turned_away", connections=len(self._clients))
            connection.abort()

    def departed(self, connection: ClientConnection) -> None:
        self._clients.discard(connection)
        if not self._clients:
            self._empty.set()

    async def _listen_http(self) -> asyncio.Server:
        listen = self._listeners.http
        return await asyncio.get_running_loop().create_server(
            lambda: ClientConnection(self, self._dispatch, self.settings),
            listen.host,
            listen.port,
            ssl=listen.tls,
            ssl_handshake_timeout=self.settings.head_timeout if listen.tls else None,
            backlog=_BACKLOG,
        )

    async def _listen_relay(self) -> list[asyncio.Server]:
        loop, listen, servers = asyncio.get_running_loop(), self._listeners.relay, []
        if listen is not None:
            server = await loop.create_server(
                lambda: ParkedConnection(self._relay),
                listen.host,
                listen.port,
                ssl=_mutual(listen.tls),
                ssl_handshake_timeout=self.settings.first_frame_timeout,
                backlog=_BACKLOG,
            )
            servers.append(server)
        if self._listeners.relay_socket is not None:
            servers.append(await self._listen_relay_socket(self._listeners.relay_socket))
        return servers

    async def _listen_relay_socket(self, path: Path) -> asyncio.Server:
        server = await asyncio.get_running_loop().create_unix_server(
            lambda: ParkedConnection(self._relay), str(path), backlog=_BACKLOG
        )
        _keep_to_ourselves(path)
        return server

    async def _stop(self, servers: list[asyncio.Server]) -> None:
        self.draining = True
        for server in servers:
            server.close()
        for client in tuple(self._clients):
            client.drain()
        if self._clients:
            await self._emptied()
        self._relay.close()
        self._application.close()
        if self._listeners.relay_socket is not None:
            self._listeners.relay_socket.unlink(missing_ok=True)

    async def _emptied(self) -> None:
        self._empty.clear()
        try:
            async with asyncio.timeout(self._grace):
                await self._empty.wait()
        except TimeoutError:
            _log.warning("requests_cut_at_stop", requests=len(self._clients))
            for client in tuple(self._clients):
                client.abort()


def _keep_to_ourselves(path: Path) -> None:
    path.chmod(0o600)


def _mutual(context: ssl.SSLContext | None) -> ssl.SSLContext:
    if context is None or context.verify_mode is not ssl.CERT_REQUIRED:
        raise ValueError("the relay port asks every peer for a certificate")
    return context


def _port(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])
