"""A real server session and a real agent session, joined by two queues that a test empties as it likes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from arw.v1 import session_pb2 as pb
from control_plane.domain.ids import NodeId
from control_plane.sessions.invitation import Terms
from control_plane.sessions.outbox import Outbox
from control_plane.sessions.rejections import Rejections
from control_plane.sessions.rules import SessionRules
from control_plane.sessions.session import ServerSession, refusal_message
from control_plane.sessions.steps import (
    Admit,
    Advertise,
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
from node_agent.control_link.convert import agent_to_proto, control_from_proto
from node_agent.control_link.desired import DesiredKeeper
from tests.fakes.agent_bench import ME, AgentBench
from tests.fakes.desired_history import HISTORY, DesiredHistory
from tests.fakes.store_rows import NOON

RULES = SessionRules(max_batch_resources=2)


@dataclass(slots=True)
class SyncPair:
    """One node's agent and, while connected, the session that a replica holds for it."""

    node: str
    keeper_type: type[DesiredKeeper] = DesiredKeeper
    digests: bool = True
    """False: revisions alone must do; neither side learns the other's digest."""
    bench: AgentBench = field(init=False)
    replica: Callable[[], DesiredHistory] | None = None
    server: ServerSession | None = None
    epoch: int = 0
    _outbox: Outbox = field(default_factory=Outbox)
    _down: deque[pb.ControlMessage] = field(default_factory=deque)
    _rejections: Rejections = field(init=False)
    _taken: int = 0

    def __post_init__(self) -> None:
        self.bench = AgentBench(me=replace(ME, node=self.node), keeper_type=self.keeper_type)
        self._rejections = Rejections(NodeId(self.node))

    @property
    def connected(self) -> bool:
        return self.server is not None

    def connect(self, replica: Callable[[], DesiredHistory]) -> None:
        self.cut()
        self.bench.dial()
        self.replica = replica
        self._outbox, self._down, self._taken = Outbox(), deque(), 0
        self.server = ServerSession(self._rejections, RULES, NOON, lambda: timedelta(seconds=10))

    def cut(self) -> None:
        """Whatever is under way is lost, on both ways."""
        self.server = None
        self._down.clear()

    def crash(self) -> None:
        """The agent loses its memory and keeps its disk."""
        self.cut()
        self.bench.start()

    def notify(self) -> None:
        """The replica saw a change."""
        if self.server:
            self._follow(self.server.changed())

    def up(self) -> bool:
        """One message from the agent arrives; False when there is none."""
        if self.server is None or self._taken >= len(self.bench.sent):
            return False
        message = agent_to_proto(self.bench.sent[self._taken])
        self._taken += 1
        if not self.digests and message.WhichOneof("body") == "hello":
            message.hello.desired_digest = self._replica().digest(self.node)
        self._follow(self.server.received(message, NOON))
        return True

    def down(self) -> bool:
        """One message from the control plane arrives; False when there is none."""
        if not self._down:
            return False
        message = self._down.popleft()
        if not self.digests and message.WhichOneof("body") == "desired_batch":
            message.desired_batch.digest_after = b""
        self.bench.hear_envelope(control_from_proto(message))
        if self.bench.ended:
            self.cut()
        return True

    def settle(self) -> None:
        """Deliver until nobody has anything to say."""
        while self.up() or self.down():
            pass

    def _follow(self, steps: list[Step]) -> None:
        todo = deque(steps)
        while todo and self.server:
            todo.extend(self._do(todo.popleft(), self.server))
        while message := self._outbox.take():
            copy = pb.ControlMessage()
            copy.CopyFrom(message)
            self._down.append(copy)

    def _do(self, step: Step, server: ServerSession) -> list[Step]:
        match step:
            case Admit():
                self.epoch += 1
                self._outbox.epoch = self.epoch
                return server.admitted(self.epoch, Terms(HISTORY, (), 0), NOON)
            case Say():
                self._outbox.put(step.message)
            case Load():
                return server.loaded(self._replica().page(self.node, server.wanted()), NOON)
            case Close():
                self._outbox.finish(refusal_message(step))
            case Observe() | Reject() | Withdraw() | Trouble() | Advertise() | Measure() | Contact() | Note():
                pass
            case Trusts():
                pass
        return []

    def _replica(self) -> DesiredHistory:
        assert self.replica is not None
        return self.replica()
