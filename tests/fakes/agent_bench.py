"""An agent's session with everything around it in memory, driven by hand and by a clock that stands still."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from node_agent.control_link.actions import Action, Check, Desire, GiveUp, Leave, Store
from node_agent.control_link.desired import DesiredKeeper
from node_agent.control_link.messages import (
    AgentBody,
    AgentEnvelope,
    ControlBody,
    ControlEnvelope,
    DesiredAck,
    DesiredBatch,
    Heartbeat,
    HeartbeatAck,
    Me,
    ObservedReport,
    Removal,
    Wanted,
    Welcome,
)
from node_agent.control_link.outbox import ObservedOutbox
from node_agent.control_link.removal_guard import RemovalGuard
from node_agent.control_link.session import AgentSession, SessionTimers
from node_agent.domain.digest import digest
from node_agent.domain.errors import StorageUnavailable
from node_agent.domain.inventory import Inventory, NodeUsage
from node_agent.domain.spec import DesiredState, InstanceName, InstanceSpec, ModelFile
from node_agent.domain.status import InstanceState, InstanceStatus, Problem
from node_agent.use_cases.ports import DesiredSnapshot, HeldInstance

ME = Me("n1", "process", "installation", "boot", "aa" * 32, "0.1.0", 4711)
INVENTORY = Inventory("linux", "x86_64", "6.18", 2, 1024)
HISTORY = "history-1"


def name_of(runtime: str) -> InstanceName:
    return InstanceName(f"nodes/n1/instances/{runtime}")


def a_spec(runtime: str, revision: int, generation: int = 1) -> InstanceSpec:
    model = ModelFile("models/tiny", "/models/tiny.gguf", "ab" * 32, 1024)
    return InstanceSpec(name_of(runtime), generation, revision, runtime, "llama.cpp", model, DesiredState.RUNNING)


def wanted(runtime: str, revision: int, generation: int = 1) -> Wanted:
    spec = a_spec(runtime, revision, generation)
    return Wanted(spec.name, generation, revision, spec)


def removal(runtime: str, revision: int) -> Removal:
    return Removal(name_of(runtime), revision)


def is_running(runtime: str) -> InstanceStatus:
    return InstanceStatus(name_of(runtime), InstanceState.READY, "Ready")


def digest_of(*specs: InstanceSpec) -> bytes:
    return digest(specs)


@dataclass(slots=True)
class MemoryDesired:
    """Keeps DesiredStore's promise in memory, or breaks like a full disk."""

    history_id: str = ""
    revision: int = 0
    specs: dict[InstanceName, InstanceSpec] = field(default_factory=dict)
    broken: bool = False
    writes: int = 0
    held: tuple[HeldInstance, ...] = ()
    outdated: bool = False

    def load(self) -> DesiredSnapshot:
        return DesiredSnapshot(self.history_id, self.revision, tuple(self.specs.values()), self.held, self.outdated)

    def apply(
        self,
        history_id: str,
        revision: int | None,
        changed: Sequence[InstanceSpec],
        removed: Sequence[InstanceName],
        held: Sequence[HeldInstance] = (),
    ) -> None:
        if self.broken:
            raise StorageUnavailable("The disk is full.", "Make room.")
        self.writes += 1
        self.held = tuple(held)
        if revision is not None:
            self.history_id, self.revision = history_id, revision
        self.specs.update({spec.name: spec for spec in changed})
        for name in removed:
            self.specs.pop(name, None)


def admit_all(_spec: InstanceSpec) -> Problem | None:
    return None


@dataclass(slots=True)
class AgentBench:
    disk: MemoryDesired = field(default_factory=MemoryDesired)
    me: Me = ME
    keeper_type: type[DesiredKeeper] = DesiredKeeper
    admit: Callable[[InstanceSpec], Problem | None] = admit_all
    running: tuple[str, ...] = ()
    left_running: tuple[str, ...] = ()
    """By an earlier agent, and not taken over yet."""
    adopted: bool = True
    accepted_history: str = ""
    timers: SessionTimers = field(default_factory=SessionTimers)
    now: float = 0.0
    answers: bool = True
    """While time passes, heartbeats are answered as a good control plane does."""
    keeper: DesiredKeeper = field(init=False)
    guard: RemovalGuard = field(init=False)
    outbox: ObservedOutbox = field(init=False)
    session: AgentSession = field(init=False)
    desired: tuple[InstanceSpec, ...] | None = None
    """What the supervisor was told last."""
    held: tuple[InstanceName, ...] = ()
    actions: list[Action] = field(default_factory=list)
    """What the session asked for, beside checks, writes and desires, which the bench does."""
    sent: list[AgentEnvelope] = field(default_factory=list)
    usage: NodeUsage | None = None
    _received: int = 0
    _answered: int = 0

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A new agent process on the same disk."""
        stored = self.disk.load()
        self.keeper = self.keeper_type(stored, self.accepted_history)
        self.guard = RemovalGuard.of(60.0, self.me.boot_id, stored.held)
        self.outbox = ObservedOutbox(released=self.adopted)
        self.dial()

    def dial(self) -> None:
        """A new stream of the same process."""
        self.outbox.know([is_running(runtime) for runtime in self.running])
        self.session = AgentSession(
            me=self.me,
            inventory=INVENTORY,
            keeper=self.keeper,
            guard=self.guard,
            outbox=self.outbox,
            left_running=lambda: [name_of(runtime) for runtime in self.left_running],
            usage=lambda: self.usage,
            timers=self.timers,
            chance=lambda: 0.5,
            now=self.now,
        )
        self.actions, self.sent, self._received, self._answered = [], [], 0, 0
        self._drain()

    def welcome(self, history_id: str = HISTORY, epoch: int = 7) -> None:
        self.hear(Welcome(epoch, history_id, timedelta(seconds=10)))

    def hear(self, body: ControlBody, epoch: int | None = None) -> None:
        self._received += 1
        own = self.session.epoch if epoch is None else epoch
        self.hear_envelope(ControlEnvelope(self._received, own, body))

    def hear_envelope(self, envelope: ControlEnvelope) -> None:
        self.perform(self.session.receive(envelope, self.now))

    def batch(self, nonce: int, to_revision: int, *resources: Wanted, **more: object) -> None:
        fields: dict[str, object] = {"from_revision": self.keeper.revision, "resources": resources, **more}
        self.hear(DesiredBatch(nonce=nonce, to_revision=to_revision, **fields))  # type: ignore[arg-type]

    def wait(self, seconds: float) -> None:
        """Let time pass and do everything that becomes due meanwhile."""
        end = self.now + seconds
        while (due := self.session.next_event()) <= end and not self.ended:
            self.now = max(self.now, due)
            self.perform(self.session.tick(self.now))
            if self.answers:
                self.answer()
        self.now = end

    def answer(self) -> None:
        """Acknowledge the newest heartbeat, when it was not yet."""
        beats = [envelope.seq for envelope in self.sent if isinstance(envelope.body, Heartbeat)]
        if beats and beats[-1] != self._answered:
            self._answered = beats[-1]
            self.hear(HeartbeatAck(beats[-1], timedelta(seconds=10)))

    def perform(self, actions: Sequence[Action]) -> None:
        todo = list(actions)
        while todo:
            todo = todo[1:] + self._perform(todo[0])
        self._drain()

    def said(self, kind: type[AgentBody]) -> list[AgentBody]:
        return [envelope.body for envelope in self.sent if isinstance(envelope.body, kind)]

    @property
    def acks(self) -> list[DesiredAck]:
        return [envelope.body for envelope in self.sent if isinstance(envelope.body, DesiredAck)]

    @property
    def reports(self) -> list[ObservedReport]:
        return [envelope.body for envelope in self.sent if isinstance(envelope.body, ObservedReport)]

    def break_disk(self) -> None:
        self.disk.broken = True

    def repair_disk(self) -> None:
        self.disk.broken = False

    @property
    def heard(self) -> int:
        return self._received

    @property
    def ended(self) -> bool:
        return any(isinstance(action, Leave | GiveUp) for action in self.actions)

    def _perform(self, action: Action) -> list[Action]:
        match action:
            case Check():
                return self.session.checked({spec.name: self.admit(spec) for spec in action.specs}, self.now)
            case Store():
                return self._store(action)
            case Desire():
                self.desired, self.held = action.specs, action.held
            case _:
                self.actions.append(action)
        return []

    def _store(self, change: Store) -> list[Action]:
        try:
            change.write(self.disk)
        except StorageUnavailable as refusal:
            return self.session.unstored(Problem.of(refusal), self.now)
        return self.session.stored(self.now)

    def _drain(self) -> None:
        while (envelope := self.session.take()) is not None:
            self.sent.append(envelope)
