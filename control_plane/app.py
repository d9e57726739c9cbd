"""The composition root: everything that one control plane consists of, wired, started and stopped."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager, AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog

from arw.v1 import session_pb2
from control_plane.api.assembly import Parts, assembled
from control_plane.api.authorization import Gatekeeper
from control_plane.api.door import Door
from control_plane.api.health import Health
from control_plane.api.open_streams import OpenStreams
from control_plane.api.servers import SERVICES, admin_server, enrollment_server, main_server
from control_plane.data_path.assembly import DataPath, build_data_path
from control_plane.data_path.traffic import TrafficMeter
from control_plane.ground import Ground
from control_plane.http.application import application
from control_plane.http.documents import Views
from control_plane.manifests.files import ManifestPaths
from control_plane.manifests.reader import Reader
from control_plane.manifests.watch import ManifestWatch
from control_plane.manifests.writer import Writer
from control_plane.process.chores import Chore
from control_plane.sessions.fleet import FleetRules, FleetState
from control_plane.sessions.hub import Invitation, Sessions, SessionUseCases
from control_plane.sessions.logs import ReadRuntimeLog
from control_plane.sessions.registry import FlapRules
from control_plane.sessions.rules import SessionRules
from control_plane.settings import Settings, Timers, product_version
from control_plane.store.deferred import DeferredWrites
from control_plane.use_cases.admit_session import AdmitSession
from control_plane.use_cases.authenticate_node import AuthenticateNode
from control_plane.use_cases.authenticate_operator import AuthenticateOperator
from control_plane.use_cases.boot_runtimes import BootRuntimes
from control_plane.use_cases.get_cluster import GetCluster
from control_plane.use_cases.get_manifests import GetManifests
from control_plane.use_cases.get_matrix import GetMatrix
from control_plane.use_cases.get_supervisor import GetSupervisor, Process
from control_plane.use_cases.mirror import Mirror
from control_plane.use_cases.observe_instances import ObserveInstances
from control_plane.use_cases.place_runtimes import PlaceRuntimes
from control_plane.use_cases.publish_health import PublishHealth
from control_plane.use_cases.quarantine_node import QuarantineNode
from control_plane.use_cases.randomness import SystemRandomness
from control_plane.use_cases.read_runtimes import GetRuntime
from control_plane.use_cases.reload_manifests import ReloadManifests
from control_plane.use_cases.report_liveness import ReportLiveness
from control_plane.use_cases.report_troubles import ReportTroubles
from control_plane.use_cases.state_bell import StateBell
from control_plane.use_cases.update_inventory import UpdateInventory
from control_plane.use_cases.watch_events import WatchEvents
from gateway.server import Bound
from wire.credentials import server_context
from wire.machine_id import machine_id_hash

KEPT_REVISIONS = 100_000
COALESCE = timedelta(milliseconds=20)
HEALTH_PAUSE = timedelta(seconds=1)

_log = structlog.get_logger()


class ControlPlane:
    """One process. `run` serves until `stop` is set, and announces where; an unexpected error anywhere ends it all."""

    def __init__(self, on: Ground) -> None:
        self._on = on
        self._ports: dict[str, int] = {}
        self._reachable = asyncio.Event()
        self.fleet = FleetState(on.clock, _fleet_rules(on.timers))
        self._mirror = Mirror(on.store)
        place = PlaceRuntimes(on.store, self._mirror, self.fleet, on.clock)
        self._place = Chore("place", place, on.timers.place_every, COALESCE)
        self._traffic = TrafficMeter(on.clock)
        self._matrix = GetMatrix(self._mirror, self.fleet, on.clock, self._traffic, on.timers.heartbeat)
        process = Process(os.getpid(), product_version(), machine_id_hash())
        self._supervisor = GetSupervisor(on.store, self.fleet, on.clock, process)
        publish = PublishHealth(self._matrix, on.store, on.clock, on.timers.place_every)
        self._health_rows = Chore("publish health", publish, on.timers.place_every, HEALTH_PAUSE)
        self._upkeep = Chore("upkeep", self._tidy, on.timers.upkeep_every)
        self._deferred = DeferredWrites(on.store)
        self._catch_up = Chore("deferred writes", self._deferred.flush, on.timers.tick)
        self._manifests = _manifest_watch(on)
        self.sessions = self._sessions()
        self._health = Health(SERVICES)
        gate = Gatekeeper(
            on.authority.trust_domain, AuthenticateNode(on.store, on.clock), AuthenticateOperator(on.store, on.clock)
        )
        self._streams = OpenStreams(gate)
        self._standing = Chore("standing", self._streams.recheck, on.timers.tick)
        self._door = Door(on.paths.runtime / "enrollment.sock")
        servicers = assembled(self._parts())
        self._main = main_server(servicers, gate, self._streams, self._health)
        self._enrollment = enrollment_server(servicers, gate, on.timers.hello_within)
        self._admin = admin_server(self._health)

    async def run(
        self, stop: asyncio.Event, announce: Callable[[Mapping[str, int]], AbstractContextManager[None]]
    ) -> None:
        await self._load_manifests()
        await BootRuntimes(self._on.store, self._on.clock)()
        async with AsyncExitStack() as stack:
            stack.callback(self._on.store.on_change(self._changed))
            stack.callback(self.fleet.on_instance(lambda *_: self._health_rows.ring()))
            stack.callback(self.fleet.on_node(lambda _: self._turned()))
            await self._listen(stack)
            group = await stack.enter_async_context(asyncio.TaskGroup())
            loops = [group.create_task(loop) for loop in self._loops()]
            data_path = group.create_task(self._data_path().run(self._bound))
            await self._reachable.wait()
            with announce(self._ports):
                _log.info("serving", pid=os.getpid(), **self._ports)
                self._health.turn(serving=True)
                await stop.wait()
                await self._leave(data_path)
            for task in loops:
                task.cancel()

    def _loops(self) -> list[Coroutine[Any, Any, None]]:
        chores = (self._place, self._health_rows, self._upkeep, self._standing, self._catch_up)
        manifests = Chore("manifests", self._manifests, self._on.timers.manifests_every)
        more = (manifests,) if self._manifests.paths else ()
        return [self.sessions.run(), self._on.certificate.run(), *(chore.run() for chore in (*chores, *more))]

    async def _load_manifests(self) -> None:
        """Before anything starts what they no longer declare."""
        if self._manifests.paths:
            await self._manifests()

    async def _listen(self, stack: AsyncExitStack) -> None:
        settings, certificate = self._on.settings, self._on.certificate
        mutual, open_tls = certificate.credentials(require_client=True), certificate.credentials(require_client=False)
        self._ports["grpc"] = self._main.add_secure_port(_address(settings.host, settings.grpc_port), mutual)
        admin, enrollment = self._on.paths.runtime / "admin.sock", self._door.inner
        for path in (admin, enrollment):
            path.unlink(missing_ok=True)
        self._admin.add_insecure_port(f"unix:{admin}")
        self._enrollment.add_secure_port(f"unix:{enrollment}", open_tls)
        for server in (self._main, self._enrollment, self._admin):
            await server.start()
            stack.push_async_callback(server.stop, 0)
        for path in (admin, enrollment):
            path.chmod(0o600)
        self._ports["enrollment"] = await stack.enter_async_context(
            self._door.open(settings.host, settings.enrollment_port)
        )

    def _data_path(self) -> DataPath:
        settings, certificate, paths = self._on.settings, self._on.certificate, self._on.paths
        relay = server_context(certificate.chain_path, certificate.key_path, certificate.ca_path, require_client=True)
        certificate.on_renewal(lambda: relay.load_cert_chain(certificate.chain_path, certificate.key_path))
        return build_data_path(
            self._on.store,
            self._mirror,
            self.fleet,
            self.sessions,
            self._traffic,
            application=application(self._views()),
            http=(settings.http_host, settings.http_port, _http_context(settings)),
            relay=(settings.host, settings.relay_port, relay),
            runtime_directory=paths.runtime,
            grace=self._on.timers.stop_grace.total_seconds(),
        )

    def _views(self) -> Views:
        on, loaded = self._on, self._manifests.paths
        return Views(
            matrix=self._matrix,
            supervisor=self._supervisor,
            cluster=GetCluster(self._mirror, self.fleet, on.clock, on.timers.heartbeat),
            manifests=GetManifests(on.store, on.clock, tuple(map(str, (*loaded.files, *loaded.directories)))),
            events=WatchEvents(on.store),
            bell=StateBell(on.store, self.fleet),
            clock=on.clock,
        )

    def _bound(self, bound: Bound) -> None:
        self._ports.update(relay=bound.relay, http=bound.http)
        self._reachable.set()

    async def _leave(self, data_path: asyncio.Task[None]) -> None:
        """Say so, let requests and calls in hand end, let the nodes go in their own time."""
        self._health.turn(serving=False)
        grace = self._on.timers.stop_grace
        within = self.sessions.drain()
        data_path.cancel()
        await asyncio.wait({data_path})
        await self.sessions.left(min(within, grace))
        self.sessions.close()
        _log.info("stopping", sessions=len(self.sessions))
        for server in (self._enrollment, self._main, self._admin):
            await server.stop(grace.total_seconds())

    def _changed(self, _revision: int) -> None:
        self._place.ring()
        self._health_rows.ring()

    def _turned(self) -> None:
        self._place.ring()
        self._health_rows.ring()

    async def _tidy(self) -> None:
        await self._on.store.prune(self._on.clock.now())
        await self._on.store.compact(KEPT_REVISIONS)

    def _sessions(self) -> Sessions:
        on, fleet = self._on, self.fleet
        use_cases = SessionUseCases(
            AdmitSession(on.store, on.clock),
            ObserveInstances(self._deferred, fleet, on.clock),
            QuarantineNode(on.store, fleet, on.clock),
            ReportLiveness(on.store, fleet, on.clock),
            ReportTroubles(self._deferred, fleet, on.clock),
            UpdateInventory(self._deferred, fleet, on.clock),
        )
        return Sessions(
            on.store,
            on.clock,
            fleet,
            use_cases,
            Invitation(self._replicas),
            rules=_session_rules(on.timers),
            flaps=FlapRules(),
            tick=on.timers.tick,
            turned=self._turned,
        )

    def _parts(self) -> Parts:
        on = self._on
        return Parts(
            store=on.store,
            mirror=self._mirror,
            fleet=self.fleet,
            clock=on.clock,
            authority=on.authority,
            vouches_for=on.authority.vouches_for,
            pin=on.authority.pin,
            reader=Reader(),
            writer=Writer(),
            streams=self.sessions,
            log_sink=self.sessions.logs,
            runtime_log=ReadRuntimeLog(GetRuntime(on.store, self.fleet), self.sessions.logs),
            guards=self.sessions,
            matrix=self._matrix,
            supervisor=self._supervisor,
            grpc_address=lambda: _address(on.settings.dialled, self._ports["grpc"]),
            enrollment_address=lambda: _address(on.settings.dialled, self._ports["enrollment"]),
            address_of_peer=self._door.address_of_peer,
        )

    def _replicas(self) -> list[session_pb2.Replica]:
        host = self._on.settings.dialled
        return [
            session_pb2.Replica(
                grpc_address=_address(host, self._ports["grpc"]),
                relay_address=_address(host, self._ports["relay"]),
                relay_unix_path=str(self._on.paths.runtime / "relay.sock"),
            )
        ]


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _http_context(settings: Settings) -> ssl.SSLContext | None:
    if not settings.http_certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(settings.http_certificate, settings.http_key)
    return context


def _manifest_watch(on: Ground) -> ManifestWatch:
    settings = on.settings
    directories = (Path(settings.manifest_dir),) if settings.manifest_dir else ()
    paths = ManifestPaths(settings.manifest_files(os.environ), directories)
    reload = ReloadManifests(on.store, on.clock, SystemRandomness())
    return ManifestWatch(paths, Reader(), reload, on.clock, on.timers.manifests_every)


def _fleet_rules(timers: Timers) -> FleetRules:
    return FleetRules(
        heartbeat=timers.heartbeat, resume_within=timers.resume_within, amnesty=timers.amnesty, tick=timers.tick
    )


def _session_rules(timers: Timers) -> SessionRules:
    return SessionRules(
        hello_within=timers.hello_within,
        ack_within=timers.ack_within,
        bookmark_every=timers.bookmark_every,
        full_report_every=timers.full_report_every,
        refused_hold=timers.refused_hold,
    )
