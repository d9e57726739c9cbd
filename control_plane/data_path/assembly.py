"""The gateway with its ports filled: what the composition root starts."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import structlog
from starlette.types import ASGIApp

from control_plane.data_path.callers import InferenceCallers, OperatorTokens
from control_plane.data_path.claim_meter import ClaimMeter
from control_plane.data_path.hosting import hosted
from control_plane.data_path.implicit_claims import ImplicitClaims, Means
from control_plane.data_path.known_waits import KnownWaits
from control_plane.data_path.request_claims import RequestClaims
from control_plane.data_path.routes import RouteTable
from control_plane.data_path.traffic import TrafficMeter
from control_plane.data_path.waking import Waking
from control_plane.domain.errors import StorageUnavailable
from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.process.chores import Chore
from control_plane.use_cases.mirror import Mirror
from control_plane.use_cases.ports import Clock, Fleet, Randomness, Store
from control_plane.use_cases.project_book import ProjectBook
from control_plane.use_cases.project_keys import RecordKeyUses
from control_plane.use_cases.wake_runtime import WakeRuntime
from gateway.guest import Guest
from gateway.ports import Caller, Callers
from gateway.server import Bound, Gateway, Listen, Listeners, Ports
from gateway.settings import GatewaySettings
from wire.http_head import Request
from wire.trace import TraceContext

_TICK_SECONDS = 2.0
"""Another process may change operators without a word."""
_PAUSE_SECONDS = 0.01
_USES_EVERY = timedelta(minutes=1)
_CLAIMS_EVERY = timedelta(seconds=5)
_WAITS_EVERY = timedelta(minutes=1)
_LOOKS_APART = timedelta(seconds=1)

_log = structlog.get_logger()


class Sessions(Protocol):
    """The live sessions of nodes."""

    def admits(self, node: NodeId, epoch: int, serial: str | None) -> bool: ...

    def superseded(self, node: NodeId, epoch: int) -> bool: ...

    def park(self, node: NodeId, idle: int) -> bool:
        """False: there is no session to ask through."""


@dataclass(frozen=True, slots=True)
class ClaimParts:
    """What requests need of claims."""

    means: Means
    waits: KnownWaits
    clock: Clock
    """Theirs, which nobody sets."""
    randomness: Randomness

    def implicit(self) -> ImplicitClaims:
        return ImplicitClaims(self.means, self.clock, self.randomness)

    def asked(self, implicit: ImplicitClaims) -> RequestClaims:
        return RequestClaims(self.means.book, implicit, self.waits, self.clock)


@dataclass(frozen=True, slots=True)
class Where:
    """Where the data path listens."""

    http: Listen
    relay: Listen
    """Its context asks for client certificates; reload its chain in place when the certificate is renewed."""
    relay_socket: Path
    http_socket: Path


class DataPath:
    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        fleet: Fleet,
        sessions: Sessions,
        traffic: TrafficMeter,
        *,
        projects: ProjectBook,
        claims: ClaimParts | None,
        clock: Clock,
        application: Callable[[Callers], ASGIApp],
        where: Where,
        settings: GatewaySettings,
        grace: float,
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._fleet = fleet
        self._sessions = sessions
        self._bell = asyncio.Event()
        self._projects = projects
        self._claims = claims
        self._implicit = claims.implicit() if claims is not None else None
        asked = claims.asked(self._implicit) if claims is not None and self._implicit is not None else None
        self._waking = Waking(mirror, fleet, WakeRuntime(store, fleet, clock))
        self._routes = RouteTable(mirror, fleet, projects.projects, asked, self._waking)
        self._looks = False
        """Those who wait for something to be loaded look again at the next turn of the loop."""
        self._operators = OperatorTokens(self._bell.set)
        self._callers = InferenceCallers(self._operators, projects, clock)
        self._record = RecordKeyUses(store)
        self._application = application(self._operators)
        self._where = where
        listeners = Listeners(where.http, where.relay, where.relay_socket, where.http_socket)
        meter = ClaimMeter(claims.means.book, traffic) if claims is not None else traffic
        self._gateway = Gateway(Ports(self._routes, self._callers, meter, self, self), listeners, settings, grace=grace)

    async def run(self, started: Callable[[Bound], None]) -> None:
        """Serve until cancelled, and say where; then requests in hand end within the grace."""
        ended = [
            self._store.on_change(lambda _: self._bell.set()),
            self._fleet.on_instance(self._instance_changed),
            self._mirror.on_change(lambda _: self._look_soon()),
        ]
        try:
            await self._refresh()
            async with hosted(self._application, self._where.http_socket), asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_fresh())
                tasks.create_task(self._waking.run())
                tasks.create_task(Chore("key uses", self._record_uses, _USES_EVERY).run())
                for loop in self._claim_loops():
                    tasks.create_task(loop)
                await self._gateway.run(started)
        finally:
            for end in ended:
                end()

    def _claim_loops(self) -> Sequence[Coroutine[Any, Any, None]]:
        if self._claims is None or self._implicit is None:
            return ()
        waits = Chore("claim waits", self._claims.waits.look, _WAITS_EVERY, _LOOKS_APART)
        self._claims.waits.bell = waits.ring
        return self._implicit.run(), Chore("implicit claims", self._implicit.tend, _CLAIMS_EVERY).run(), waits.run()

    def ask(self, request: Request, caller: Caller, trace: TraceContext) -> Guest:
        """As a client of the HTTP port does, from inside; GatewayRefusal. The guest has to leave, whatever comes."""
        return self._gateway.ask(request, caller, trace)

    def drop_node(self, node: NodeId) -> None:
        """Close the node's relay connections at once: it was revoked, or its session ended for good."""
        self._gateway.drop_node(node)

    def admits(self, node: str, epoch: int, serial: str | None) -> bool:
        return self._sessions.admits(NodeId(node), epoch, serial)

    def superseded(self, node: str, epoch: int) -> bool:
        return self._sessions.superseded(NodeId(node), epoch)

    def want(self, node: str, idle: int) -> None:
        self._sessions.park(NodeId(node), idle)

    def _instance_changed(self, node: NodeId, _runtime: RuntimeId) -> None:
        if not self._fleet.liveness(node).online:
            self.drop_node(node)
        self._look_soon()

    def _look_soon(self) -> None:
        if not self._looks:
            self._looks = True
            asyncio.get_running_loop().call_soon(self._look_again)

    def _look_again(self) -> None:
        self._looks = False
        self._gateway.look_again()

    async def _keep_fresh(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_TICK_SECONDS):
                    await self._bell.wait()
            except TimeoutError:
                pass
            self._bell.clear()
            try:
                await self._refresh()
            except StorageUnavailable as refusal:
                # What is known already goes on serving; the next tick looks again.
                _log.warning("routes_not_refreshed", text=refusal.text)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _refresh(self) -> None:
        await self._mirror.look()
        if self._claims is not None:
            await self._claims.means.book.look()
        await self._projects.look()
        self._operators.replace(await self._store.read(lambda tx: tx.operators.all()))

    async def _record_uses(self) -> None:
        """What is lost by a database that is away is told by the next use."""
        await self._record(self._callers.taken_uses())


def build_data_path(
    store: Store,
    mirror: Mirror,
    fleet: Fleet,
    sessions: Sessions,
    traffic: TrafficMeter,
    *,
    projects: ProjectBook,
    claims: ClaimParts | None = None,
    clock: Clock,
    application: Callable[[Callers], ASGIApp],
    http: tuple[str, int, ssl.SSLContext | None],
    relay: tuple[str, int, ssl.SSLContext],
    runtime_directory: Path,
    settings: GatewaySettings | None = None,
    grace: float = 10,
) -> DataPath:
    """Everything between clients and engines. Call on the loop; then `await run(started)`.

    `application` makes the ASGI application from the callers that are operators. `claims` None: nobody claims anything.
    Addresses are (host, port, TLS). `grace` in seconds.
    """
    where = Where(Listen(*http), Listen(*relay), runtime_directory / "relay.sock", runtime_directory / "http.sock")
    return DataPath(
        store,
        mirror,
        fleet,
        sessions,
        traffic,
        projects=projects,
        claims=claims,
        clock=clock,
        application=application,
        where=where,
        settings=settings or GatewaySettings(),
        grace=grace,
    )
