"""One stream from the agent's side. No socket, no clock, no randomness: time and events go in, actions come out.

Messages are taken by the writer with `take`, so that a slow path costs one slot a kind and never a queue.
Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta

from node_agent.control_link.actions import (
    Action,
    GiveUp,
    Leave,
    Opened,
    Park,
    Probe,
    ReadLogs,
    Regroup,
    Settled,
    Trust,
)
from node_agent.control_link.desired import DesiredKeeper
from node_agent.control_link.heartbeat import HeartbeatClock
from node_agent.control_link.intake import DesiredIntake, Verdicts
from node_agent.control_link.messages import (
    TRUST,
    AgentBody,
    AgentEnvelope,
    ControlBody,
    ControlEnvelope,
    DesiredBatch,
    DrainNotice,
    Goodbye,
    Heartbeat,
    HeartbeatAck,
    Hello,
    InventoryReport,
    LogRequest,
    Me,
    ParkConnections,
    ProbeInstance,
    Refused,
    ReplicasChanged,
    ReportFullState,
    TrustReport,
    Unknown,
    Welcome,
)
from node_agent.control_link.outbox import ObservedOutbox
from node_agent.control_link.removal_guard import RemovalGuard
from node_agent.domain.inventory import Inventory, NodeUsage
from node_agent.domain.spec import InstanceName
from node_agent.domain.status import InstanceState, InstanceStatus, Problem
from node_agent.domain.trust import TrustBundle

_REPLICA_OUT = frozenset({"DRAINING", "STORAGE_UNAVAILABLE", "UNAVAILABLE"})
RUNS = frozenset({InstanceState.STARTING, InstanceState.READY, InstanceState.DEGRADED, InstanceState.RESTARTING})


@dataclass(frozen=True, slots=True)
class SessionTimers:
    """Seconds."""

    welcome: float = 10.0
    between_reports: float = 0.05
    """The least time from one report of changes to the next; the first one after a while goes at once."""
    recheck_refused: float = 30.0
    storage_retry: float = 10.0


class AgentSession:
    """Use it for one stream, then make the next one from the same keeper, guard and outbox."""

    def __init__(
        self,
        *,
        me: Me,
        inventory: Inventory,
        keeper: DesiredKeeper,
        guard: RemovalGuard,
        outbox: ObservedOutbox,
        left_running: Callable[[], Collection[InstanceName]],
        usage: Callable[[], NodeUsage | None],
        timers: SessionTimers,
        chance: Callable[[], float],
        now: float,
        trusted: Callable[[], bytes] = bytes,
    ) -> None:
        """`trusted` tells the digest of the authorities that are stored."""
        self.epoch = 0
        self._keeper = keeper
        self._outbox = outbox
        self._left_running = left_running
        self._usage = usage
        self._inventory, self._inventory_waits = inventory, False
        self._timers = timers
        self._chance = chance
        self._hello: Hello | None = Hello(me, keeper.hello_history, keeper.hello_revision, keeper.digest, inventory)
        self._intake = DesiredIntake(keeper, guard, self._running, timers.storage_retry)
        self._heartbeat: HeartbeatClock | None = None
        self._heartbeat_waits = False
        self._trusted, self._trust_waits = trusted, False
        self._goodbye: Goodbye | None = None
        self._sent = self._received = 0
        self._opened_at = now
        self._report_due: float | None = None
        self._reported_at = now
        self._report_waits = False
        self._recheck_due = now + timers.recheck_refused
        self._leave_due: float | None = None
        self._settled = False
        self.heard_at: float | None = None
        """When something last came; None: nothing did."""

    @property
    def opened(self) -> bool:
        return self._heartbeat is not None

    @property
    def in_sync(self) -> bool:
        """A complete set was stored on this stream, and nothing since failed to be."""
        return self.opened and self._intake.synced and not self._intake.resync_due

    @property
    def history_changed(self) -> bool:
        return self.opened and self._keeper.foreign

    @property
    def draining(self) -> bool:
        return self._leave_due is not None

    def receive(self, envelope: ControlEnvelope, now: float) -> list[Action]:
        self._received += 1
        self.heard_at = now
        if envelope.seq != self._received:
            return [Leave(f"Message {envelope.seq} arrived where {self._received} was due.")]
        if not self.opened:
            return self._open(envelope.body, now)
        if envelope.session_epoch != self.epoch:
            return [Leave(f"A message of session {envelope.session_epoch} arrived in session {self.epoch}.")]
        return self._handle(envelope.body, now)

    def checked(self, verdicts: Verdicts, now: float) -> list[Action]:
        return self._intake.checked(verdicts, now)

    def stored(self, now: float) -> list[Action]:
        return self._intake.stored(now)

    def unstored(self, problem: Problem, now: float) -> list[Action]:
        return self._intake.unstored(problem, now)

    def status_changed(self, status: InstanceStatus, now: float) -> None:
        if self._outbox.changed(status):
            self._report_soon(now)

    def instance_gone(self, name: InstanceName, now: float) -> None:
        if self._outbox.gone(name):
            self._report_soon(now)

    def inventory_changed(self, inventory: Inventory) -> None:
        """The machine is another than was told; only the newest is. What it could not take before it may take now."""
        if inventory != self._inventory:
            self._inventory, self._inventory_waits = inventory, True
            self._recheck_due = self._opened_at

    def say_goodbye(self, goodbye: Goodbye) -> None:
        self._goodbye = goodbye

    def history_accepted(self) -> list[Action]:
        if not self._keeper.accepted_history or self._keeper.accepted_history == self._keeper.history_id:
            return []
        return [Leave("The new history was accepted on this node.", timedelta(), stay=True)]

    def tick(self, now: float) -> list[Action]:
        """Do what is due. Call it at `next_event` or earlier."""
        if not self.opened:
            late = now >= self._opened_at + self._timers.welcome
            return [Leave("The control plane took the connection but never said welcome.")] if late else []
        self._batch_over(now)
        return self._end(now) or [*self._intake.release(now), *self._recheck(now), *self._beat(now)]

    def next_event(self) -> float:
        if self._heartbeat is None:
            return self._opened_at + self._timers.welcome
        refused = self._recheck_due if self._keeper.refused else None
        events = (self._report_due, self._leave_due, self._intake.resync_due, self._intake.release_due, refused)
        return min([self._heartbeat.next_event(), *(event for event in events if event is not None)])

    def take(self) -> AgentEnvelope | None:
        """The next message to write; None when there is nothing to say."""
        body = self._next_body()
        if body is None:
            return None
        self._sent += 1
        if isinstance(body, Heartbeat) and self._heartbeat:
            self._heartbeat.sent(self._sent)
        return AgentEnvelope(self._sent, self.epoch, body)

    def _next_body(self) -> AgentBody | None:
        if self._hello is not None:
            hello, self._hello = self._hello, None
            return hello
        if self._heartbeat is None:
            return None
        if self._heartbeat_waits:
            self._heartbeat_waits = False
            return Heartbeat(self._outbox.seq, self._keeper.revision, self._heartbeat.take_lateness(), self._usage())
        if self._trust_waits:
            self._trust_waits = False
            return TrustReport(self._trusted())
        if self._intake.acks:
            return self._intake.acks.popleft()
        return self._take_inventory() or self._next_report() or self._take_goodbye()

    def _take_inventory(self) -> InventoryReport | None:
        waits, self._inventory_waits = self._inventory_waits, False
        return InventoryReport(self._inventory) if waits else None

    def _next_report(self) -> AgentBody | None:
        if not self._outbox.released or not (self._report_waits or self._goodbye):
            return None
        self._report_waits = False
        return self._outbox.take()

    def _take_goodbye(self) -> Goodbye | None:
        goodbye, self._goodbye = self._goodbye, None
        return goodbye

    def _open(self, body: ControlBody, now: float) -> list[Action]:
        if isinstance(body, Refused):
            return [_refused(body)]
        if not isinstance(body, Welcome):
            return [Leave("The control plane spoke before it said welcome.")]
        self.epoch = body.session_epoch
        self._keeper.begin(body.history_id)
        self._outbox.ask_full()
        self._heartbeat = HeartbeatClock(body.heartbeat_period, self._chance, now)
        self._report_waits = True
        self._trust_waits = TRUST in body.capabilities
        return [Opened(body), *self._beat(now)]

    def _handle(self, body: ControlBody, now: float) -> list[Action]:  # noqa: C901, PLR0911 - one line a message
        match body:
            case DesiredBatch():
                return self._intake.receive(body, now)
            case HeartbeatAck():
                return self._answered(body)
            case ReportFullState():
                self._outbox.ask_full()
                self._report_soon(now)
                return []
            case ParkConnections():
                return [Park(body.idle, body.relay_address)]
            case ReplicasChanged():
                return [Regroup(body)]
            case LogRequest():
                return [ReadLogs(body)]
            case TrustBundle():
                self._trust_waits = True
                return [Trust(body)]
            case ProbeInstance():
                return [Probe(body)]
            case DrainNotice():
                self._leave_due = now + body.reconnect_within.total_seconds() * self._chance()
                return []
            case Refused():
                return [_refused(body)]
            case Welcome():
                return [Leave("The control plane said welcome twice.")]
            case Unknown():
                return []

    def _answered(self, ack: HeartbeatAck) -> list[Action]:
        if self._heartbeat is None or not self._heartbeat.answered(ack.heartbeat_seq, ack.next_period):
            return []
        first, self._settled = not self._settled, True
        return [Settled()] if first else []

    def _beat(self, now: float) -> list[Action]:
        if self._heartbeat and now >= self._heartbeat.due:
            self._heartbeat.fired(now)
            self._heartbeat_waits = True
        return []

    def _end(self, now: float) -> list[Action]:
        if self._heartbeat and self._heartbeat.silent(now):
            return [Leave("Heartbeats stayed unanswered.")]
        if self._leave_due is not None and now >= self._leave_due:
            return [Leave("The control plane is about to stop.", timedelta())]
        if self._intake.resync_due is not None and now >= self._intake.resync_due:
            return [Leave("Asking again for what could not be stored.", timedelta(), stay=True)]
        return []

    def _recheck(self, now: float) -> list[Action]:
        if now < self._recheck_due:
            return []
        self._recheck_due = now + self._timers.recheck_refused
        return self._intake.recheck(now)

    def _batch_over(self, now: float) -> None:
        if self._report_due is not None and now >= self._report_due:
            self._report_due, self._report_waits, self._reported_at = None, True, now

    def _report_soon(self, now: float) -> None:
        if self.opened and self._report_due is None:
            self._report_due = max(now, self._reported_at + self._timers.between_reports)

    def _running(self) -> Collection[InstanceName]:
        seen = {status.name for status in self._outbox.statuses if status.state in RUNS}
        return seen.union(self._left_running())


def _refused(refused: Refused) -> Action:
    if refused.retry_after is None:
        return GiveUp(refused.problem)
    return Leave(refused.problem.text, refused.retry_after, replica_out=refused.problem.reason in _REPLICA_OUT)
