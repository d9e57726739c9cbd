"""Who is connected and what each node last reported, in memory only."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from control_plane.domain.accelerator import NodeUsage
from control_plane.domain.footprint import Footprints
from control_plane.domain.ids import NodeId, ReplicaId, RuntimeId
from control_plane.domain.instance import Instance, InstanceState, Severity
from control_plane.domain.node import HeldRemoval, Liveness
from control_plane.domain.problem import Problem
from control_plane.sessions.contacts import Contact, Contacts, SessionFacts
from control_plane.sessions.footprints import LearntFootprints
from control_plane.sessions.listeners import Listeners
from control_plane.use_cases.ports import Clock

JITTER = 0.1
UNANSWERED_PERIODS = 2
"""After these an agent leaves a control plane that does not answer."""


@dataclass(frozen=True, slots=True)
class FleetRules:
    heartbeat: timedelta = timedelta(seconds=10)
    """Up to `agents_per_second` times this many seconds of agents; beyond, the period grows."""
    agents_per_second: int = 500
    silent_periods: int = 3
    resume_within: timedelta = timedelta(seconds=10)
    amnesty: timedelta = timedelta(seconds=15)
    """After a start, nobody is counted offline for this long."""
    tick: timedelta = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Turn:
    """A node came or went."""

    node: NodeId
    epoch: int
    online: bool
    at: datetime
    why: str


class FleetState:
    """The Fleet port, and the failure detector behind it. Only touched on the loop.

    Call `sweep` every `rules.tick`: it distrusts its own verdicts by as much as it is late itself.
    """

    def __init__(self, clock: Clock, rules: FleetRules, chance: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._rules = rules
        self._chance = chance
        self.contacts = Contacts()
        self._instances: dict[NodeId, dict[RuntimeId, Instance]] = {}
        self._footprints = LearntFootprints()
        self._of_instances: Listeners[NodeId, RuntimeId] = Listeners()
        self._of_nodes: Listeners[NodeId] = Listeners()
        self._of_acks: Listeners[NodeId] = Listeners()
        self._turns: list[Turn] = []
        self._amnesty_until = clock.now() + rules.amnesty
        self._swept_at: datetime | None = None
        self._calm_until = clock.now()
        """Nobody is silent for too long before, whoever comes or breaks off meanwhile."""
        self.answers_for_all = True
        """Whether it is this replica that reports the nodes of a replica that is no more."""

    # The Fleet port.

    def liveness(self, node: NodeId) -> Liveness:
        contact = self.contacts.get(node)
        if contact is None:
            over = self._clock.now() >= self._amnesty_until
            return Liveness(online=False, offline_since=self._amnesty_until if over else None)
        return Liveness(
            contact.online,
            self.contacts.heard_at(contact),
            contact.offline_since,
            contact.applied_revision,
            contact.epoch,
            contact.problems,
            contact.held,
            contact.usage if contact.online and self._is_fresh(contact.usage) else None,
        )

    def online(self) -> Iterable[NodeId]:
        return [node for node, contact in self.contacts.items() if contact.online]

    def instance(self, node: NodeId, runtime: RuntimeId) -> Instance | None:
        reported = self._instances.get(node, {}).get(runtime)
        return reported and self._seen(reported)

    def instances(self, node: NodeId | None = None) -> Sequence[Instance]:
        groups = self._instances.values() if node is None else (self._instances.get(node, {}),)
        return [self._seen(instance) for reported in groups for instance in reported.values()]

    def footprints(self) -> Footprints:
        return self._footprints.told

    def record(self, instance: Instance) -> Instance | None:
        of_node = self._instances.setdefault(instance.node, {})
        before = of_node.get(instance.runtime)
        of_node[instance.runtime] = instance
        if instance.footprint is not None:
            self._footprints.learn(instance.node, instance.footprint)
        if instance != before:
            self._of_instances.tell(instance.node, instance.runtime)
        return before

    def forget(self, node: NodeId, runtime: RuntimeId) -> None:
        if self._instances.get(node, {}).pop(runtime, None) is not None:
            self._of_instances.tell(node, runtime)

    def trouble(self, node: NodeId, problems: Sequence[Problem], held: Sequence[HeldRemoval] = ()) -> None:
        contact = self.contacts.get(node)
        if contact is not None:
            contact.problems, contact.held = tuple(problems), tuple(held)
            self.contacts.changed(node)
            self._of_nodes.tell(node)

    def on_node(self, listener: Callable[[NodeId], None]) -> Callable[[], None]:
        return self._of_nodes.add(listener)

    def on_instance(self, listener: Callable[[NodeId, RuntimeId], None]) -> Callable[[], None]:
        return self._of_instances.add(listener)

    def on_applied(self, listener: Callable[[NodeId], None]) -> Callable[[], None]:
        """Call `listener(node)` whenever a node of this replica says that it has applied more. Returns how to stop."""
        return self._of_acks.add(listener)

    # What the sessions tell.

    def connected(
        self, node: NodeId, epoch: int, applied_revision: int, *, serial: str = "", process_id: str = ""
    ) -> None:
        before = self.contacts.get(node)
        if before is not None and before.epoch > epoch:
            return
        contact = Contact(self._clock.now(), epoch, serial, process_id, applied_revision=applied_revision)
        self.contacts.open(node, contact)
        if before is None or not before.online:
            self._turn(node, online=True, why="connected")

    def heard(self, node: NodeId, epoch: int, applied_revision: int | None = None) -> None:
        contact = self.contacts.here(node, epoch)
        if contact is None:
            return
        contact.heard_at = self._clock.now()
        if applied_revision is not None and applied_revision != contact.applied_revision:
            contact.applied_revision = applied_revision
            self.contacts.changed(node)
            self._of_acks.tell(node)
        if not contact.online:
            contact.online, contact.offline_since = True, None
            self._turn(node, online=True, why="heard again")

    def measured(self, node: NodeId, epoch: int, usage: NodeUsage) -> None:
        contact = self.contacts.here(node, epoch)
        if contact is not None:
            contact.usage = usage
            self.contacts.changed(node)

    def disconnected(self, node: NodeId, epoch: int, *, for_good: bool) -> None:
        """The stream ended. `for_good`: nobody need wait for it to resume."""
        contact = self.contacts.here(node, epoch)
        if contact is None or not contact.connected:
            return
        contact.connected, contact.broke_at = False, self._clock.now()
        self.contacts.changed(node)
        if for_good:
            self._offline(node, contact, "left")

    # What other replicas tell, and are told.

    def reported(self, node: NodeId) -> Mapping[RuntimeId, Instance]:
        """As the node said it, online or not."""
        return self._instances.get(node, {})

    def replica_of(self, node: NodeId) -> ReplicaId | None:
        """The other replica that has the node's session; None: this one, or none."""
        contact = self.contacts.get(node)
        return contact.replica if contact is not None and contact.connected else None

    def serial_of(self, node: NodeId) -> str | None:
        """Of the certificate that the node's session presented; None without a session."""
        contact = self.contacts.get(node)
        return contact.serial if contact is not None and contact.connected else None

    def adopt(self, replica: ReplicaId, facts: SessionFacts) -> bool:
        """Take what another replica says; False when a newer session is known."""
        found = self.contacts.adopt(replica, facts, self._clock.now())
        if found is None:
            return False
        before, now = found
        if (before is not None and before.online) is not now.online:
            self._tell(facts.node)
        elif before is not None and (before.problems, before.held) != (now.problems, now.held):
            self._of_nodes.tell(facts.node)
        return True

    def adopt_instance(self, replica: ReplicaId, node: NodeId, runtime: RuntimeId, instance: Instance | None) -> None:
        """Take what another replica heard from a node whose session it has; None: it is gone."""
        contact = self.contacts.get(node)
        if contact is None or contact.replica != replica:
            return
        if instance is None:
            self.forget(node, runtime)
        else:
            self.record(instance)

    def alive(self, replicas: Iterable[ReplicaId]) -> None:
        """These other replicas live now; the sessions of any that does not broke with it."""
        self.contacts.alive(replicas, self._clock.now())

    # What the loop asks.

    def period(self) -> timedelta:
        """Until a node's next heartbeat: grows with the fleet, and differs a little each time."""
        seconds = max(self._rules.heartbeat.total_seconds(), self.contacts.number_here / self._rules.agents_per_second)
        return timedelta(seconds=seconds * (1 + JITTER * (2 * self._chance() - 1)))

    def sweep(self) -> None:
        """Find who fell silent."""
        now = self._clock.now()
        self._excuse(now)
        if now < max(self._amnesty_until, self._calm_until):
            return
        silence = self._silence
        self._calm_until = now + min(silence, self._rules.resume_within)
        for node, contact in self.contacts.items():
            if contact.online:
                self._judge(node, contact, now, silence)

    def turns(self) -> tuple[Turn, ...]:
        """Who came or went since the last call, as far as it is for this replica to report."""
        turns, self._turns = tuple(self._turns), []
        return turns

    def _is_fresh(self, usage: NodeUsage | None) -> bool:
        """A node that goes on without saying what its devices do no longer knows."""
        return usage is not None and self._clock.now() - usage.update_time <= self._silence

    def _excuse(self, now: datetime) -> None:
        """Time that this process slept through, or a clock that was set, is nobody else's silence."""
        slip = now - self._swept_at - self._rules.tick if self._swept_at else timedelta()
        self._swept_at = now
        if abs(slip) < max(self._rules.tick, timedelta(seconds=1)):
            return
        self._amnesty_until += slip
        self._calm_until = now
        if slip >= UNANSWERED_PERIODS * self._rules.heartbeat:
            # Its agents left it meanwhile, and come back in their own time, as after a start.
            self._amnesty_until = max(self._amnesty_until, now + self._rules.amnesty)
        for contact in self.contacts.values():
            contact.heard_at = _excused(contact.heard_at, slip, now)
            contact.broke_at = contact.broke_at and _excused(contact.broke_at, slip, now)

    def _judge(self, node: NodeId, contact: Contact, now: datetime, silence: timedelta) -> None:
        resumes = contact.broke_at and contact.broke_at + self._rules.resume_within
        speaks = contact.heard_at + silence if contact.replica is None else None
        if resumes is not None and now >= resumes:
            self._offline(node, contact, "its stream broke and did not resume")
        elif speaks is not None and now >= speaks:
            self._offline(node, contact, "no heartbeat")
        else:
            self._calm_until = min(filter(None, (self._calm_until, resumes, speaks)))

    @property
    def _silence(self) -> timedelta:
        by_size = timedelta(seconds=len(self.contacts) / self._rules.agents_per_second)
        return self._rules.silent_periods * max(self._rules.heartbeat, by_size)

    def _offline(self, node: NodeId, contact: Contact, why: str) -> None:
        if contact.online:
            contact.online, contact.offline_since = False, self._clock.now()
            self._turn(node, online=False, why=why)

    def _turn(self, node: NodeId, *, online: bool, why: str) -> None:
        contact = self.contacts.get(node)
        if contact is not None and (contact.replica is None or self.answers_for_all):
            self._turns.append(Turn(node, contact.epoch, online, self._clock.now(), why))
        self.contacts.changed(node)
        self._tell(node)

    def _tell(self, node: NodeId) -> None:
        """Everyone who asked, of the node and of what runs there."""
        self._of_nodes.tell(node)
        for runtime in tuple(self._instances.get(node, ())):
            self._of_instances.tell(node, runtime)

    def _seen(self, instance: Instance) -> Instance:
        """On an offline node nothing is known to run."""
        if self.liveness(instance.node).online:
            return instance
        summary = f"Node {instance.node} is offline"
        return replace(instance, state=InstanceState.UNKNOWN, severity=Severity.WARN, summary=summary, ready_time=None)


def _excused(at: datetime, slip: timedelta, now: datetime) -> datetime:
    """What was noted since the clock was set back stands."""
    return at if slip < timedelta() and at <= now else min(at + slip, now)
