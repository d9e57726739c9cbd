"""The composition root: everything that one control plane consists of, wired, started and stopped."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack
from typing import Any

import structlog

from control_plane.api.assembly import Parts, assembled
from control_plane.api.authorization import Gatekeeper
from control_plane.api.door import Door
from control_plane.api.health import Health
from control_plane.api.open_streams import OpenStreams
from control_plane.api.servers import SERVICES, admin_server, enrollment_server, main_server
from control_plane.api.trust_hint import TrustHint
from control_plane.claims import Claims
from control_plane.data_path.assembly import DataPath, build_data_path
from control_plane.data_path.traffic import WINDOW, TrafficMeter
from control_plane.domain.errors import Unavailable
from control_plane.domain.replica import Replica
from control_plane.duties import Duties
from control_plane.ground import Ground
from control_plane.http.application import application
from control_plane.http.documents import Views
from control_plane.http.orders import Orders
from control_plane.manifests.profiles import ProfileFiles
from control_plane.manifests.reader import Reader
from control_plane.manifests.writer import Writer
from control_plane.process.chores import Chore
from control_plane.reached import Reached, address
from control_plane.replicas.circle import Circle, Pace
from control_plane.replicas.telling import Telling
from control_plane.replicas.traffic import SharedTraffic
from control_plane.sessions.fleet import FleetRules, FleetState
from control_plane.sessions.hub import Sessions, SessionUseCases
from control_plane.sessions.invitation import Invitation
from control_plane.sessions.logs import ReadRuntimeLog
from control_plane.sessions.registry import FlapRules
from control_plane.sessions.rules import SessionRules
from control_plane.sessions.trust import TrustTold
from control_plane.settings import Settings, product_version
from control_plane.store.board_view import Limits
from control_plane.store.deferred import DeferredWrites
from control_plane.timers import Timers
from control_plane.use_cases.admit_session import AdmitSession
from control_plane.use_cases.authenticate_node import AuthenticateNode
from control_plane.use_cases.authenticate_operator import AuthenticateOperator
from control_plane.use_cases.get_cluster import GetCluster
from control_plane.use_cases.get_grid import GetGrid
from control_plane.use_cases.get_manifests import GetManifests
from control_plane.use_cases.get_matrix import GetMatrix
from control_plane.use_cases.get_supervisor import GetSupervisor, Process
from control_plane.use_cases.get_watchers import GetWatchers
from control_plane.use_cases.jobs.book import JobBook
from control_plane.use_cases.jobs.create_job import CreateJob
from control_plane.use_cases.jobs.read_jobs import GetJobs
from control_plane.use_cases.mirror import Mirror
from control_plane.use_cases.observe_instances import ObserveInstances
from control_plane.use_cases.project_book import ProjectBook
from control_plane.use_cases.quarantine_node import QuarantineNode
from control_plane.use_cases.randomness import SystemRandomness
from control_plane.use_cases.read_projects import GetProjects, ViewProjects
from control_plane.use_cases.read_runtimes import GetRuntime
from control_plane.use_cases.report_liveness import ReportLiveness
from control_plane.use_cases.report_troubles import ReportTroubles
from control_plane.use_cases.report_trust import ReportTrust
from control_plane.use_cases.state_bell import StateBell
from control_plane.use_cases.update_inventory import UpdateInventory
from control_plane.use_cases.watch_events import WatchEvents
from gateway.server import Bound
from gateway.settings import GatewaySettings
from wire.machine_id import machine_id_hash

_log = structlog.get_logger()


class ControlPlane:
    """One process. `run` serves until `stop` is set, and announces where; an unexpected error anywhere ends it all."""

    def __init__(self, on: Ground) -> None:
        self._on = on
        self._reached = Reached(on.settings, on.paths.runtime, machine_id_hash())
        self.fleet = FleetState(on.clock, _fleet_rules(on.timers))
        self._mirror = Mirror(on.store)
        self._meter = TrafficMeter(on.clock)
        traffic = SharedTraffic(self._meter)
        self._circle = Circle(
            on.store.board(Limits(lost=on.timers.replica_lost, silent=on.timers.replica_silent)),
            self.fleet,
            traffic,
            Telling(self.fleet, self._meter),
            place=self._reached.place,
            pace=Pace(beat=on.timers.replica_beat, cut_off=on.timers.replica_cut_off),
        )
        self._matrix = GetMatrix(self._mirror, self.fleet, on.clock, traffic, on.timers.heartbeat)
        self._grid = GetGrid(self._mirror, self.fleet, on.clock, self._meter, WINDOW, on.timers.heartbeat)
        process = Process(os.getpid(), product_version(), self._reached.machine)
        self._supervisor = GetSupervisor(on.store, self.fleet, on.clock, process)
        self._deferred = DeferredWrites(on.store)
        self._catch_up = Chore("deferred writes", self._deferred.flush, on.timers.tick)
        self.sessions = self._sessions()
        self._circle.serve(self.sessions)
        self._jobs, self._projects = JobBook(on.store), ProjectBook(on.store)
        reader, writer = self._reader(), Writer()
        self._create_job = CreateJob(on.store, self.fleet, on.clock, SystemRandomness(), reader, writer, self._jobs)
        self._claims = Claims(on, self._mirror, self.fleet, self._projects)
        self._duties = Duties(on, self._circle, self._matrix, self.sessions, self._jobs, claims=self._claims)
        self._watchers = GetWatchers(self._duties.manifests.report, on.clock)
        self._health = Health(SERVICES)
        gate = _gatekeeper(on)
        self._streams = OpenStreams(gate, taken_within=on.timers.ack_within)
        self._trust = Chore("trust", on.trust.refresh, on.timers.tick)
        on.trust.on_change(self.sessions.authorities_changed)
        self._standing = Chore("standing", self._streams.recheck, on.timers.tick)
        self._door = Door(on.paths.runtime / "enrollment.sock")
        self._path: DataPath | None = None
        servicers = assembled(self._parts())
        self._main = main_server(servicers, gate, self._streams, self._health, TrustHint(lambda: on.authority.hint))
        self._enrollment = enrollment_server(servicers, gate, on.timers.hello_within)
        self._admin = admin_server(self._health)

    @property
    def replicas(self) -> Sequence[Replica]:
        """All that live, this one included, the oldest first."""
        return self._circle.replicas

    def on_replicas(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever replicas came, went, or are reached elsewhere."""
        self._circle.on_move(listener)

    async def run(
        self, stop: asyncio.Event, announce: Callable[[Mapping[str, int]], AbstractContextManager[None]]
    ) -> None:
        if await self._circle.join():
            await self._duties.begin()
        async with AsyncExitStack() as stack:
            stack.callback(self._on.store.on_change(self._duties.follow))
            stack.callback(self._on.store.on_change(self._claims.follow))
            stack.callback(self.fleet.on_applied(lambda _: self._duties.ring_claims()))
            stack.callback(self.fleet.on_instance(lambda *_: self._duties.ring_health()))
            stack.callback(self.fleet.on_node(lambda _: self._duties.ring()))
            await self._listen(stack)
            group = await stack.enter_async_context(asyncio.TaskGroup())
            loops = [group.create_task(loop) for loop in self._loops()]
            self._path = self._data_path()
            data_path = group.create_task(self._path.run(self._bound))
            await self._reached.everywhere.wait()
            with announce(self._reached.ports):
                _log.info("serving", pid=os.getpid(), **self._reached.ports)
                self._health.turn(serving=True)
                await stop.wait()
                await self._leave(data_path)
            for task in loops:
                task.cancel()

    def _loops(self) -> list[Coroutine[Any, Any, None]]:
        chores = (self._standing, self._trust, self._catch_up, *self._claims.chores, *self._duties.chores)
        return [
            self.sessions.run(),
            self._circle.run(),
            self._on.certificate.run(),
            *(chore.run() for chore in chores),
        ]

    async def _listen(self, stack: AsyncExitStack) -> None:
        settings, certificate = self._on.settings, self._on.certificate
        mutual, open_tls = certificate.credentials(require_client=True), certificate.credentials(require_client=False)
        ports = self._reached.ports
        ports["grpc"] = self._main.add_secure_port(address(settings.host, settings.grpc_port), mutual)
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
        ports["enrollment"] = await stack.enter_async_context(self._door.open(settings.host, settings.enrollment_port))

    def _open_path(self) -> DataPath:
        if self._path is None or not self._reached.everywhere.is_set():
            raise Unavailable("The gateway does not serve yet.", "Try again in a moment.")
        return self._path

    def _data_path(self) -> DataPath:
        settings, certificate, paths = self._on.settings, self._on.certificate, self._on.paths
        relay = certificate.context()
        return build_data_path(
            self._on.store,
            self._mirror,
            self.fleet,
            self.sessions,
            self._meter,
            projects=self._projects,
            claims=self._claims.for_requests(),
            clock=self._on.clock,
            application=application(self._views()),
            http=(settings.http_host, settings.http_port, _http_context(settings)),
            relay=(settings.host, settings.relay_port, relay),
            runtime_directory=paths.runtime,
            settings=GatewaySettings(stalled_timeout=self._on.timers.ack_within.total_seconds()),
            grace=self._on.timers.stop_grace.total_seconds(),
        )

    def _views(self) -> Views:
        on, loaded = self._on, self._duties.manifests.paths
        return Views(
            matrix=self._matrix,
            grid=self._grid,
            supervisor=self._supervisor,
            watchers=self._watchers,
            jobs=GetJobs(self._jobs, on.clock),
            projects=GetProjects(ViewProjects(self._projects, self._mirror, self.fleet, on.clock)),
            orders=Orders(self._create_job, GetRuntime(on.store, self.fleet)),
            cluster=GetCluster(self._mirror, self.fleet, on.clock, on.timers.heartbeat, lambda: self.replicas),
            manifests=GetManifests(on.store, on.clock, tuple(map(str, (*loaded.files, *loaded.directories)))),
            events=WatchEvents(on.store),
            bell=StateBell(on.store, self.fleet),
            clock=on.clock,
        )

    def _bound(self, bound: Bound) -> None:
        self._reached.ports.update(relay=bound.relay, http=bound.http)
        self._reached.everywhere.set()
        self._circle.settled()

    async def _leave(self, data_path: asyncio.Task[None]) -> None:
        """Say so, let requests and calls in hand end, let the nodes go in their own time."""
        self._health.turn(serving=False)
        grace = self._on.timers.stop_grace
        within = self.sessions.drain()
        data_path.cancel()
        await asyncio.wait({data_path})
        await self.sessions.left(min(within, grace))
        self.sessions.close()
        await self._circle.leave()
        _log.info("stopping", sessions=len(self.sessions))
        for server in (self._enrollment, self._main, self._admin):
            await server.stop(grace.total_seconds())

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
            Invitation(self._circle.places),
            rules=_session_rules(on.timers),
            flaps=FlapRules(),
            tick=on.timers.tick,
            elsewhere=self._circle,
            trust=TrustTold(on.trust, ReportTrust(self._deferred), on.timers.renew_within),
        )

    def _reader(self) -> Reader:
        return Reader(ProfileFiles(self._on.settings.profile_folder(os.environ)))

    def _parts(self) -> Parts:
        on = self._on
        return Parts(
            circumstances=self._duties.circumstances,
            store=on.store,
            mirror=self._mirror,
            fleet=self.fleet,
            clock=on.clock,
            authority=on.authority,
            trust=on.trust,
            reader=self._reader(),
            profiles=self._reader().profiles,
            writer=Writer(),
            streams=self.sessions,
            log_sink=self.sessions.logs,
            runtime_log=ReadRuntimeLog(GetRuntime(on.store, self.fleet), self.sessions.logs),
            guards=self.sessions,
            matrix=self._matrix,
            grid=self._grid,
            supervisor=self._supervisor,
            watchers=self._watchers,
            replicas=lambda: self.replicas,
            create_job=self._create_job,
            jobs=self._jobs,
            projects=self._projects,
            claims=self._claims.use_cases,
            ask=lambda *asked: self._open_path().ask(*asked),
            grpc_address=lambda: self._reached.at("grpc"),
            enrollment_address=lambda: self._reached.at("enrollment"),
            address_of_peer=self._door.address_of_peer,
        )


def _http_context(settings: Settings) -> ssl.SSLContext | None:
    if not settings.http_certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(settings.http_certificate, settings.http_key)
    return context


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


def _gatekeeper(on: Ground) -> Gatekeeper:
    return Gatekeeper(
        on.authority.trust_domain,
        AuthenticateNode(on.store, on.clock),
        AuthenticateOperator(on.store, on.clock),
        on.trust.check_issuer,
    )
