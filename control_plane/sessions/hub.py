"""All sessions of this replica: admits them, feeds them, watches them, ends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from arw.v1 import session_pb2 as pb
from control_plane.domain.accelerator import NodeUsage
from control_plane.domain.admission import Presented, quarantined
from control_plane.domain.errors import Draining, StorageUnavailable
from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.instance import Instance
from control_plane.domain.node import HeldRemoval, NodeInventory
from control_plane.sessions.connection import Abort, AgentConnection
from control_plane.sessions.fleet import FleetState, Turn
from control_plane.sessions.follower import DesiredFollower, Reader
from control_plane.sessions.logs import LogBroker
from control_plane.sessions.registry import FlapRules, Registry
from control_plane.sessions.rejections import Rejections
from control_plane.sessions.rules import SessionRules
from control_plane.sessions.session import ServerSession, Terms
from control_plane.sessions.steps import Reject, Trouble
from control_plane.use_cases.admit_session import Admission, AdmitSession, Greeting
from control_plane.use_cases.observe_instances import Observation, ObserveInstances
from control_plane.use_cases.ports import Clock, Store
from control_plane.use_cases.quarantine_node import QuarantineNode
from control_plane.use_cases.report_liveness import LivenessChange, ReportLiveness
from control_plane.use_cases.report_troubles import ReportTroubles
from control_plane.use_cases.rows import superseded
from control_plane.use_cases.update_inventory import UpdateInventory
from wire.refusal import Refusal

DRAIN_FLOOR = timedelta(seconds=5)
DRAIN_PER_SECOND = 100
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


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a welcomed node needs to know of this replica."""

    replicas: Callable[[], Sequence[pb.Replica]]
    parked_connections: int = 2


@dataclass(slots=True)
class _Cuts:
    """Streams whose writers are stuck."""

    group: asyncio.TaskGroup | None = None
    under_way: set[AgentConnection] = field(default_factory=set)


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
        turned: Callable[[], None],
    ) -> None:
        """`turned` is called when nodes came or went."""
        self.logs = LogBroker(self.say)
        self._clock = clock
        self._fleet = fleet
        self._use_cases = use_cases
        self._invitation = invitation
        self._rules = rules
        self._tick = tick
        self._turned = turned
        self._registry: Registry[AgentConnection] = Registry(flaps)
        self._follower = DesiredFollower(store, self)
        self._cuts = _Cuts()
        self._unreported: list[Turn] = []
        self._rejections: dict[NodeId, Rejections] = {}
        self._draining = False
        self._left = asyncio.Event()

    # For the servicer, the data path and the composition root.

    async def serve(
        self, presented: Presented, requests: AsyncIterator[pb.AgentMessage], abort: Abort
    ) -> AsyncIterator[pb.ControlMessage]:
        """One stream from its Hello to its end. Raises what ended it."""
        if self._draining:
            raise _draining()
        rejections = self._rejections.setdefault(presented.node, Rejections(presented.node))
        session = ServerSession(rejections, self._rules, self.now(), self._fleet.period)
        connection = AgentConnection(presented, session, self, abort)
        self._registry.opened(connection)
        async for message in connection.messages(requests):
            yield message

    def say(self, node: NodeId, message: pb.ControlMessage) -> bool:
        """Put a message into the outbox of the node's session; False without one, or without room."""
        connection = self._registry.at(node)
        return connection is not None and connection.say(message)

    def park(self, node: NodeId, idle: int) -> bool:
        """Ask the node for this many parked and idle connections."""
        return self.say(node, pb.ControlMessage(park_connections=pb.ParkConnections(idle_connections=idle)))

    def let_through(self, node: NodeId, removals: Sequence[HeldRemoval]) -> bool:
        """Let the node stop at once what it holds back so; False without a session."""
        connection = self._registry.at(node)
        if connection is not None:
            connection.allow(removals)
        return connection is not None

    def admits(self, node: NodeId, epoch: int, serial: str | None) -> bool:
        """Whether a relay connection belongs to the node's session; no serial on a local socket."""
        connection = self._registry.at(node)
        if connection is None or connection.epoch != epoch:
            return False
        return serial is None or serial == connection.presented.serial

    def superseded(self, node: NodeId, epoch: int) -> bool:
        """Whether another session speaks for the node now; False when none does."""
        connection = self._registry.at(node)
        return connection is not None and connection.epoch != epoch

    def cut(self, node: NodeId, refusal: Refusal) -> None:
        self._registry.cut(node, refusal)

    def drain(self) -> timedelta:
        """Tell every node to reconnect, spread over the time returned; new sessions are refused from now on."""
        self._draining = True
        within = max(DRAIN_FLOOR, timedelta(seconds=len(self._registry) / DRAIN_PER_SECOND))
        for connection in self._registry:
            connection.drain(within)
        return within

    async def left(self, within: timedelta) -> None:
        """Wait until no session is open, but no longer than this."""
        try:
            async with asyncio.timeout(within.total_seconds()):
                while len(self._registry):
                    self._left.clear()
                    await self._left.wait()
        except TimeoutError:
            return

    def close(self) -> None:
        """End what is still open, in good time for the nodes to hear why."""
        for connection in self._registry:
            connection.end(_draining())

    def __len__(self) -> int:
        return len(self._registry)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._cuts.group = group
            group.create_task(self._follower.run())
            group.create_task(self._watch())

    # For the connections (Host) and the follower (Seats).

    def now(self) -> datetime:
        return self._clock.now()

    async def admit(self, connection: AgentConnection, greeting: Greeting) -> tuple[Admission, Terms]:
        admission = await self._use_cases.admit(connection.presented, greeting)
        connection.adopt(admission.session_epoch)
        if self._registry.seat(connection, self.now()):
            await self._quarantine(connection.node)
        self._fleet.connected(connection.node, admission.session_epoch, connection.held_revision)
        terms = Terms(admission.history_id, tuple(self._invitation.replicas()), self._invitation.parked_connections)
        _log.info("session_opened", node=connection.node, session_epoch=admission.session_epoch)
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
        self._left.set()
        self._follower.drop(connection)
        self._cuts.under_way.discard(connection)
        if connection.epoch:
            self._fleet.disconnected(connection.node, connection.epoch, for_good=for_good)
            _log.info("session_closed", node=connection.node, session_epoch=connection.epoch, why=connection.why)

    def reader(self, node: NodeId) -> Reader | None:
        return self._registry.at(node)

    async def _quarantine(self, node: NodeId) -> None:
        why = "Two agents used one identity in turn."
        refusal = quarantined(node)
        _log.error("node_quarantined", node=node, why=why)
        await self._use_cases.quarantine(node, why)
        self.cut(node, refusal)
        raise refusal

    async def _watch(self) -> None:
        """Everything that is due by time, for all nodes at once."""
        while True:
            await asyncio.sleep(self._tick.total_seconds())
            for number, connection in enumerate(self._registry, start=1):
                if connection.tick(self.now()):
                    self._cut_off(connection)
                if number % TICKED_AT_ONCE == 0:
                    await asyncio.sleep(0)
            self._fleet.sweep()
            await self._report()

    def _cut_off(self, connection: AgentConnection) -> None:
        """The status follows as soon as the peer reads; the handler ends now."""
        if connection in self._cuts.under_way or self._cuts.group is None:
            return
        self._cuts.under_way.add(connection)
        self._cuts.group.create_task(connection.abort(connection.refusal or _draining()))
        connection.cut()

    async def _report(self) -> None:
        turns = self._fleet.turns()
        if turns:
            self._turned()
        self._unreported += turns
        if not self._unreported:
            return
        changes = [LivenessChange(turn.node, turn.epoch, turn.online, turn.at, turn.why) for turn in self._unreported]
        try:
            await self._use_cases.report(changes)
        except StorageUnavailable as refusal:
            # The fleet knows; the journal is told as soon as it can be written.
            _log.warning("liveness_unrecorded", nodes=len(changes), text=refusal.text)
            return
        self._unreported = []


def _draining() -> Draining:
    return Draining("This control plane is stopping.", "The node reconnects by itself.")
