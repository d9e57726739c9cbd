"""All sessions of this replica: admits them, feeds them, watches them, ends them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

import structlog

from arw.v1 import session_pb2 as pb
from control_plane.domain.accelerator import NodeUsage
from control_plane.domain.admission import Presented
from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.instance import Instance
from control_plane.domain.node import HeldRemoval, Node, NodeInventory
from control_plane.sessions.admissions import Admissions
from control_plane.sessions.connection import Abort, AgentConnection
from control_plane.sessions.cuts import Cuts
from control_plane.sessions.fleet import FleetState
from control_plane.sessions.follower import DesiredFollower, Reader
from control_plane.sessions.invitation import Invitation, Terms
from control_plane.sessions.leaving import Leaving, draining
from control_plane.sessions.logs import LogBroker
from control_plane.sessions.reach import Elsewhere, Reach
from control_plane.sessions.registry import FlapRules, Registry
from control_plane.sessions.rejections import Rejections
from control_plane.sessions.rules import SessionRules
from control_plane.sessions.session import ServerSession
from control_plane.sessions.steps import Reject, Trouble
from control_plane.sessions.suspects import Suspects
from control_plane.sessions.trust import TrustTold
from control_plane.sessions.turn_reports import TurnReports
from control_plane.use_cases.admit_session import Admission, AdmitSession, Greeting
from control_plane.use_cases.observe_instances import Observation, ObserveInstances
from control_plane.use_cases.ports import Clock, Store
from control_plane.use_cases.quarantine_node import QuarantineNode
from control_plane.use_cases.report_liveness import ReportLiveness
from control_plane.use_cases.report_troubles import ReportTroubles
from control_plane.use_cases.rows import superseded
from control_plane.use_cases.update_inventory import UpdateInventory

TICKED_AT_ONCE = 100
"""Streams looked at before the loop gets its turn."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SessionUseCases:
    admit: AdmitSession
    observe: ObserveInstances
    quarantine: QuarantineNode
    report: ReportLiveness
    trouble: ReportTroubles
    inventory: UpdateInventory


class Sessions:
    def __init__(
        self,
        store: Store,
        clock: Clock,
        fleet: FleetState,
        use_cases: SessionUseCases,
        invitation: Invitation,
        *,
        rules: SessionRules,
        flaps: FlapRules,
        tick: timedelta,
        elsewhere: Elsewhere,
        trust: TrustTold,
    ) -> None:
        self._clock = clock
        self._fleet = fleet
        self._use_cases = use_cases
        self._invitation = invitation
        self._rules = rules
        self._trust = trust
        self._tick = tick
        self._registry: Registry[AgentConnection] = Registry(flaps)
        self._reach = Reach(self._registry, fleet, elsewhere, lambda: invitation.replicas()[0])
        self.logs = LogBroker(self._reach.ask_log)
        self._follower = DesiredFollower(store, self)
        self._cuts = Cuts()
        self._report = TurnReports(fleet, use_cases.report)
        self._suspects = Suspects(use_cases.quarantine, self._registry.cut)
        self._leaving = Leaving(self._registry)
        self._admissions = Admissions(rules.admission)
        self._rejections: dict[NodeId, Rejections] = {}

    # For the servicer, the data path and the composition root.

    def serve(
        self, presented: Presented, requests: AsyncIterator[pb.AgentMessage], abort: Abort
    ) -> AsyncIterator[pb.ControlMessage]:
        """One stream from its Hello to its end. Raises what ended it; a refusal to begin at once."""
        self._leaving.check()
        rejections = self._rejections.setdefault(presented.node, Rejections(presented.node))
        session = ServerSession(rejections, self._rules, self.now(), self._fleet.period)
        connection = AgentConnection(presented, session, self, abort)
        self._registry.opened(connection)
        return connection.messages(requests)

    def say(self, node: NodeId, message: pb.ControlMessage) -> bool:
        """Put a message into the outbox of the node's session, whichever replica has it; False without one, or room."""
        return self._reach.say(node, message)

    def park(self, node: NodeId, idle: int) -> bool:
        """Ask the node for this many parked and idle connections at this replica."""
        return self._reach.park(node, idle)

    def probe(self, node: NodeId, runtime: RuntimeId, request: str) -> bool:
        """Have the node ask the engine now, and name the request in its report; False: it cannot be asked."""
        return self._reach.probe(node, runtime, request)

    def let_through(self, node: NodeId, removals: Sequence[HeldRemoval]) -> bool:
        """Let the node stop at once what it holds back so; False without a session."""
        return self._reach.let_through(node, removals)

    def admits(self, node: NodeId, epoch: int, serial: str | None) -> bool:
        """Whether a relay connection belongs to the node's session; no serial on a local socket."""
        return self._reach.admits(node, epoch, serial)

    def superseded(self, node: NodeId, epoch: int) -> bool:
        """Whether a newer session speaks for the node now; False when none does."""
        return self._reach.superseded(node, epoch)

    def drain(self) -> timedelta:
        """Tell every node to reconnect, spread over the time returned; new sessions are refused from now on."""
        return self._leaving.drain()

    async def left(self, within: timedelta) -> None:
        """Wait until no session is open, but no longer than this."""
        await self._leaving.left(within)

    def close(self) -> None:
        """End what is still open, in good time for the nodes to hear why."""
        for connection in self._registry:
            connection.end(draining())

    def __len__(self) -> int:
        return len(self._registry)

    async def run(self) -> None:
        stop = self._fleet.on_node(self._turned)
        try:
            async with asyncio.TaskGroup() as group:
                self._cuts.group = group
                group.create_task(self._follower.run())
                group.create_task(self._watch())
        finally:
            stop()

    # For whoever follows the other replicas.

    def errand(self, content: bytes) -> None:
        """Do what another replica sent for a node that is connected here."""
        self._reach.errand(content)

    def overtaken(self, node: NodeId, epoch: int, process_id: str) -> None:
        """Another replica has a session of this node, of this agent process: an older one here ends."""
        if self._registry.overtaken(node, epoch, process_id, self.now()):
            self._suspects.add(node)

    def replicas_changed(self) -> None:
        """Tell the nodes which replicas there are now."""
        replicas = self._invitation.replicas()
        for connection in self._registry:
            connection.replicas_changed(replicas, self._invitation.parked_connections)

    async def authorities_changed(self) -> None:
        """Tell the nodes; end the streams that stand on one that counts no more."""
        await self._trust.changed(tuple(self._registry))

    def step_aside(self) -> None:
        """Send every node to another replica and let none in until `come_back`."""
        self._leaving.step_aside()

    def come_back(self) -> None:
        self._leaving.come_back()

    # For the connections (Host) and the follower (Seats).

    def now(self) -> datetime:
        return self._clock.now()

    async def admit(self, connection: AgentConnection, greeting: Greeting) -> tuple[Admission, Terms]:
        async with self._admissions.turn():
            self._leaving.check()
            admission = await self._use_cases.admit(connection.presented, greeting)
        connection.adopt(admission.session_epoch)
        self._trust.authorities.check_issuer(connection.presented.issuer)
        connection.trusts = sys.intern(admission.node.trust.bundle)
        if self._registry.seat(connection, self.now()):
            raise await self._suspects.quarantine(connection.node)
        self._fleet.connected(
            connection.node,
            admission.session_epoch,
            connection.held_revision,
            serial=connection.presented.serial,
            process_id=connection.process_id,
        )
        terms = Terms(admission.history_id, tuple(self._invitation.replicas()), self._invitation.parked_connections)
        _log.info("session_opened", node=connection.node, session_epoch=admission.session_epoch)
        if greeting.history_id not in ("", admission.history_id):
            _log.warning("node_of_another_history", node=connection.node, history=greeting.history_id)
        return admission, terms

    async def observe(self, connection: AgentConnection, seen: Observation) -> None:
        if not self._registry.is_seated(connection):
            raise superseded(connection.node)
        await self._use_cases.observe(seen)

    async def trouble(self, connection: AgentConnection, trouble: Trouble) -> None:
        if not self._registry.is_seated(connection):
            raise superseded(connection.node)
        if await self._use_cases.trouble(connection.node, connection.epoch, trouble.problems, trouble.held):
            reasons = [problem.reason for problem in trouble.problems]
            _log.warning("node_troubled" if reasons else "node_well_again", node=connection.node, reasons=reasons)

    def withdraw(self, connection: AgentConnection, runtimes: Iterable[RuntimeId]) -> None:
        for runtime in runtimes:
            known = self._fleet.instance(connection.node, runtime)
            if known is not None and known.refused and self._registry.is_seated(connection):
                self._fleet.forget(connection.node, runtime)

    async def advertise(self, connection: AgentConnection, inventory: NodeInventory) -> None:
        if not self._registry.is_seated(connection):
            raise superseded(connection.node)
        await self._use_cases.inventory(connection.node, connection.epoch, inventory)

    async def trusts(self, connection: AgentConnection, digest: str) -> None:
        await self._trust.heard(connection, digest)

    def measure(self, connection: AgentConnection, usage: NodeUsage) -> None:
        self._fleet.measured(connection.node, connection.epoch, usage)

    def known(self, connection: AgentConnection, reject: Reject) -> Instance | None:
        return self._fleet.instance(connection.node, reject.runtime)

    def load(self, connection: AgentConnection) -> None:
        self._follower.load(connection)

    def contact(self, connection: AgentConnection, applied_revision: int) -> None:
        self._fleet.heard(connection.node, connection.epoch, applied_revision)

    def gone(self, connection: AgentConnection, *, for_good: bool) -> None:
        if self._registry.is_seated(connection):
            self.logs.leave(connection.node)
        self._registry.closed(connection)
        self._leaving.one_left()
        self._follower.drop(connection)
        self._cuts.gone(connection)
        if connection.epoch:
            self._fleet.disconnected(connection.node, connection.epoch, for_good=for_good)
            _log.info("session_closed", node=connection.node, session_epoch=connection.epoch, why=connection.why)

    def reader(self, node: NodeId) -> Reader | None:
        return self._registry.at(node)

    def recheck(self, node: NodeId, row: Node | None) -> None:
        if row is not None:
            self._registry.oust(node, row.session_epoch)
        connection = self._registry.at(node)
        if connection is not None:
            connection.recheck(row)

    def begun_anew(self, history_id: str) -> None:
        _log.error("history_changed", history=history_id, sessions=len(self))
        for connection in self._registry:
            connection.wake()

    def _turned(self, node: NodeId) -> None:
        """It may have left another replica, to which it was asked to send its logs from."""
        if not self._fleet.liveness(node).online:
            self.logs.leave(node)

    async def _watch(self) -> None:
        """Everything that is due by time, for all nodes at once."""
        while True:
            await asyncio.sleep(self._tick.total_seconds())
            left = iter(self._registry)
            while some := tuple(islice(left, TICKED_AT_ONCE)):
                self._ticked(some)
                await asyncio.sleep(0)
            self._fleet.sweep()
            await self._report()
            await self._suspects.settle()

    def _ticked(self, connections: Iterable[AgentConnection]) -> None:
        now = self.now()
        for connection in connections:
            if connection.tick(now):
                self._cuts.cut_off(connection)
