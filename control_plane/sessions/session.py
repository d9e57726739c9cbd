"""One node's stream from the control plane's side. No clock and no socket: messages and times go in, steps come out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from enum import Enum, auto

from arw.v1 import authority_pb2
from arw.v1 import session_pb2 as pb
from control_plane.domain.errors import NodeMismatch, Unavailable
from control_plane.domain.ids import RuntimeId
from control_plane.domain.node import HeldRemoval
from control_plane.domain.replica import Place
from control_plane.messages.instances import instance_from_proto, instance_ids
from control_plane.messages.nodes import held_to_proto
from control_plane.messages.places import places_to_proto
from control_plane.messages.problems import problem_from_proto, refusal_to_proto
from control_plane.messages.times import duration_to_proto
from control_plane.messages.usage import node_usage_from_proto
from control_plane.sessions.desired_feed import DesiredFeed, DesiredPage, Held, Wanted
from control_plane.sessions.full_report import FullReport
from control_plane.sessions.hello import UPDATE, Peer, checked_hello, peer_of, violation
from control_plane.sessions.inventory_reports import InventoryReports
from control_plane.sessions.invitation import Terms, replicas_changed
from control_plane.sessions.rejections import Rejections
from control_plane.sessions.rules import (
    DELTA,
    MAX_MESSAGE_BYTES,
    MAX_REPORTED,
    MAX_REVISION,
    MAX_TRUST_REPORTS,
    MAX_WORD,
    SessionRules,
)
from control_plane.sessions.steps import (
    Admit,
    Close,
    Contact,
    Load,
    Measure,
    Note,
    Observe,
    Reject,
    Say,
    Step,
    Trouble,
    Trusts,
    Withdraw,
)
from control_plane.sessions.troubles import OF_THE_NODE, held_removals, troubles
from wire.refusal import Refusal

# After these the node tries again by itself; after any other refusal a person has to act.
_RETRIED = frozenset(
    {"SESSION_SUPERSEDED", "DRAINING", "UNAVAILABLE", "STORAGE_UNAVAILABLE", "RATE_LIMITED", "PROTOCOL_VIOLATION"}
)


class Stage(Enum):
    WAITING_FOR_HELLO = auto()
    ADMITTING = auto()
    OPEN = auto()
    CLOSED = auto()


class ServerSession:
    """`pace` tells the time until the node's next heartbeat."""

    def __init__(
        self, rejections: Rejections, rules: SessionRules, opened_at: datetime, pace: Callable[[], timedelta]
    ) -> None:
        self.node = rejections.node
        self.epoch = 0
        self.stage = Stage.WAITING_FOR_HELLO
        self.peer = Peer()
        self._rules = rules
        self._opened_at = opened_at
        self._pace = pace
        self._received = self._trust_reports = 0
        self._feed = DesiredFeed(rules, Held("", 0, b""), delta=False)
        self._loading = self._changed = False
        self._history = ""
        self._full = FullReport(rules.full_report_every)
        self._inventories = InventoryReports(rules, opened_at)
        self._rejections = rejections
        self._trouble: Trouble | None = None
        """As the node said it last; None before the first word."""

    def received(self, message: pb.AgentMessage, now: datetime) -> list[Step]:
        """What follows from a message of the node."""
        return self._guarded(lambda: self._take(message, now))

    def admitted(self, epoch: int, terms: Terms, now: datetime) -> list[Step]:
        """The session is open: welcome the node and start reading its desired state."""
        self.epoch, self.stage, self._history = epoch, Stage.OPEN, terms.history_id
        self._full.expected(now)
        self._feed.presume(self._rejections.begin(), now)
        return [Say(pb.ControlMessage(welcome=self._welcome(terms))), *self.changed()]

    @property
    def close_within(self) -> timedelta:
        return self._rules.close_within

    def wanted(self) -> Wanted:
        return self._feed.wanted()

    def changed(self) -> list[Step]:
        """Desired state of this node may have changed."""
        if self.stage is not Stage.OPEN:
            return []
        if self._loading:
            self._changed = True
            return []
        self._loading = True
        return [Load()]

    def allow(self, removals: Iterable[HeldRemoval], now: datetime) -> list[Step]:
        """An operator lets the node stop at once what it holds back so."""
        if self.stage is not Stage.OPEN:
            return []
        self._feed.allow(held_to_proto(self.node, removals))
        return self._batches(now)

    def loaded(self, page: DesiredPage, now: datetime) -> list[Step]:
        if self.stage is not Stage.OPEN:
            return []
        self._loading = False
        return self._guarded(lambda: self._fed(page, now))

    def tick(self, now: datetime) -> list[Step]:
        """Do what is due by time; call it every second or so."""
        if self.stage is Stage.OPEN:
            return self._tick_open(now)
        if self.stage is Stage.WAITING_FOR_HELLO and now - self._opened_at >= self._rules.hello_within:
            return self.refuse(violation("The stream was opened without a Hello."))
        return []

    def rests_until(self) -> datetime | None:
        """A tick does nothing before, unless something happens first; None: any tick may do something."""
        return self._feed.rests_until() if self.stage is Stage.OPEN and not self._full.wanted else None

    def drain(self, within: timedelta) -> list[Step]:
        if self.stage is not Stage.OPEN:
            return []
        notice = pb.DrainNotice(reconnect_within=duration_to_proto(within))
        return [Say(pb.ControlMessage(drain_notice=notice))]

    def replicas_changed(self, replicas: Sequence[Place], parked_connections: int) -> list[Step]:
        told = replicas_changed(self.peer, replicas, parked_connections)
        return [Say(told)] if told is not None and self.stage is Stage.OPEN else []

    def refuse(self, refusal: Refusal) -> list[Step]:
        if self.stage is Stage.CLOSED:
            return []
        self.stage = Stage.CLOSED
        retry_after = self._rules.retry_after if refusal.reason in _RETRIED else None
        return [Close(refusal, refusal.passes_in or retry_after)]

    def _guarded(self, act: Callable[[], list[Step]]) -> list[Step]:
        if self.stage is Stage.CLOSED:
            return []
        try:
            return act()
        except Refusal as refusal:
            return self.refuse(refusal)

    def _take(self, message: pb.AgentMessage, now: datetime) -> list[Step]:
        self._received += 1
        if message.seq != self._received:
            raise violation(f"Message {message.seq} arrived where {self._received} was due.")
        if self.stage is Stage.WAITING_FOR_HELLO:
            return self._greeted(message)
        if self.stage is not Stage.OPEN or message.session_epoch != self.epoch:
            raise violation(f"A message of session {message.session_epoch} arrived in session {self.epoch}.")
        return [*self._handle(message, now), *self._inventories.due(now)]

    def _handle(self, message: pb.AgentMessage, now: datetime) -> list[Step]:  # noqa: PLR0911 - one line a message
        match message.WhichOneof("body"):
            case "heartbeat":
                return self._heartbeat(message.seq, message.heartbeat, now)
            case "desired_ack":
                return self._acked(message.desired_ack, now)
            case "observed_report":
                return self._observed(message.observed_report, now)
            case "inventory_report":
                self._inventories.add(message.inventory_report.inventory, now)
                return []
            case "trust_report":
                return self._trusting(message.trust_report)
            case "goodbye":
                self.stage = Stage.CLOSED
                return [Close(None, for_good=message.goodbye.kind == pb.GOODBYE_KIND_SHUTDOWN)]
            case "hello":
                raise violation("The node said Hello twice.")
            case _:
                # A body of a newer agent.
                return []

    def _greeted(self, message: pb.AgentMessage) -> list[Step]:
        hello = checked_hello(message, self.node)
        self.peer, self.stage = peer_of(hello), Stage.ADMITTING
        held = Held(hello.history_id, self.peer.revision, hello.desired_digest)
        self._feed = DesiredFeed(self._rules, held, delta=DELTA in self.peer.capabilities)
        return [Admit(hello)]

    def _welcome(self, terms: Terms) -> pb.Welcome:
        return pb.Welcome(
            session_epoch=self.epoch,
            history_id=terms.history_id,
            protocol=self.peer.protocol,
            capabilities=self.peer.capabilities,
            heartbeat_period=duration_to_proto(self._pace()),
            max_message_bytes=MAX_MESSAGE_BYTES,
            max_unacked_batches=self._rules.max_unacked_batches,
            replicas=places_to_proto(terms.replicas, self.peer.machine_id_hash),
            parked_connections=terms.parked_connections,
        )

    def _fed(self, page: DesiredPage, now: datetime) -> list[Step]:
        if page.history_id != self._history:
            raise Unavailable("The control plane's records start anew.", "The node connects again by itself.")
        self._feed.page(page)
        steps = [*self._settled(), *self._batches(now)]
        again = self._changed or self._feed.wanted().whole
        self._changed = False
        return [*steps, *(self.changed() if again else ())]

    def _batches(self, now: datetime) -> list[Step]:
        return [Say(pb.ControlMessage(desired_batch=batch)) for batch in self._feed.take(now)]

    def _trusting(self, report: authority_pb2.TrustReport) -> list[Step]:
        """One at the start, and one for each word of ours."""
        self._trust_reports += 1
        if self._trust_reports > MAX_TRUST_REPORTS:
            raise violation("The node says time and again whom it trusts.")
        return [Trusts(report.bundle_digest.hex()[:MAX_WORD])]

    def _heartbeat(self, seq: int, heartbeat: pb.Heartbeat, now: datetime) -> list[Step]:
        ack = pb.HeartbeatAck(heartbeat_seq=seq, next_period=duration_to_proto(self._pace()))
        self._full.told(heartbeat.observed_seq)
        return [
            Contact(min(heartbeat.desired_revision, MAX_REVISION)),
            Say(pb.ControlMessage(heartbeat_ack=ack)),
            *self._ask_full(now),
            *([Measure(node_usage_from_proto(heartbeat.usage, now))] if heartbeat.HasField("usage") else ()),
        ]

    def _acked(self, ack: pb.DesiredAck, now: datetime) -> list[Step]:
        if len(ack.problems) > MAX_REPORTED:
            raise violation("A message names too many resources.")
        steps: list[Step] = [Contact(min(ack.desired_revision, MAX_REVISION))]
        if not self._feed.acked(ack, now):
            steps.append(Note("desired_digest_mismatch", {"revision": str(ack.desired_revision)}))
        steps += self._settled()
        for problem in ack.problems:
            if problem.problem.reason not in OF_THE_NODE:
                steps += self._refused(problem)
        return [*steps, *self._troubled(ack), *self._batches(now)]

    def _troubled(self, ack: pb.DesiredAck) -> list[Step]:
        trouble = Trouble(troubles(self.node, ack.problems), held_removals(ack.problems))
        if trouble == self._trouble:
            return []
        self._trouble = trouble
        return [trouble]

    def _settled(self) -> list[Step]:
        over = self._rejections.settle(self._feed)
        return [Withdraw(over)] if over else []

    def _refused(self, report: pb.ResourceProblem) -> list[Step]:
        problem = problem_from_proto(report.problem)
        fields = {"resource": report.name[:MAX_WORD], "reason": problem.reason, "text": problem.text}
        note = Note("desired_refused", fields)
        if self._feed.generation(report.name) != report.generation:
            return [note]
        reject = Reject(instance_ids(report.name)[1], report.generation, problem)
        return [note, reject] if self._rejections.add(reject) else []

    def _observed(self, report: pb.ObservedReport, now: datetime) -> list[Step]:
        if len(report.instances) + len(report.gone) > MAX_REPORTED:
            raise violation("A message names too many resources.")
        if not self._full.accepts(report.observed_seq, full=report.full):
            return self._ask_full(now)
        instances = tuple(instance_from_proto(instance, now) for instance in report.instances)
        gone = tuple(instance_ids(name) for name in report.gone)
        if any(node != self.node for node in (*(item.node for item in instances), *(node for node, _ in gone))):
            raise NodeMismatch("The node reports instances of another node.", UPDATE)
        left = tuple(RuntimeId(runtime) for _, runtime in gone)
        shown = tuple(self._rejections.shown(instances, left, now, full=report.full))
        return [Observe(shown, left, report.full)]

    def _ask_full(self, now: datetime) -> list[Step]:
        reason = self._full.due(now)
        return [Say(pb.ControlMessage(report_full_state=pb.ReportFullState(reason=reason)))] if reason else []

    def _tick_open(self, now: datetime) -> list[Step]:
        if self._feed.overdue(now):
            late = Unavailable("The node left a batch of desired state unacknowledged.", "See the node agent's log.")
            return self.refuse(late)
        steps = [*self._ask_full(now), *self._batches(now)]
        if self._feed.bookmark_due(now):
            self._feed.announce()
            steps += self.changed()
        return steps


def refusal_message(close: Close) -> pb.ControlMessage | None:
    """The last message of a stream that ends by a refusal."""
    if close.refusal is None:
        return None
    problem = refusal_to_proto(close.refusal)
    return pb.ControlMessage(refusal=pb.Refusal(problem=problem, retry_after=duration_to_proto(close.retry_after)))
