"""What is known of each node's newest session, whichever replica has it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime

from control_plane.domain.accelerator import NodeUsage
from control_plane.domain.ids import NodeId, ReplicaId
from control_plane.domain.node import HeldRemoval
from control_plane.domain.problem import Problem


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What the replica that has a node's session tells the others of it."""

    node: NodeId
    epoch: int
    serial: str
    """Of the certificate that the session presented."""
    process_id: str
    """Of the agent."""
    online: bool
    connected: bool
    applied_revision: int = 0
    problems: tuple[Problem, ...] = ()
    held: tuple[HeldRemoval, ...] = ()
    usage: NodeUsage | None = None


@dataclass(slots=True)
class Contact:
    heard_at: datetime
    epoch: int
    serial: str = ""
    process_id: str = ""
    online: bool = True
    connected: bool = True
    broke_at: datetime | None = None
    offline_since: datetime | None = None
    applied_revision: int = 0
    problems: tuple[Problem, ...] = ()
    held: tuple[HeldRemoval, ...] = ()
    usage: NodeUsage | None = None
    replica: ReplicaId | None = None
    """Which has the session; None: this one."""

    def facts(self, node: NodeId) -> SessionFacts:
        return SessionFacts(
            node,
            self.epoch,
            self.serial,
            self.process_id,
            self.online,
            self.connected,
            self.applied_revision,
            self.problems,
            self.held,
            self.usage,
        )

    def take(self, facts: SessionFacts, now: datetime) -> None:
        """What its replica says, which lives, and judges the node itself; `now` by the clock of this one."""
        self.broke_at = None
        if self.online and not facts.online:
            self.offline_since = now
        elif facts.online:
            self.offline_since = None
        self.connected, self.online, self.applied_revision = facts.connected, facts.online, facts.applied_revision
        self.problems, self.held = facts.problems, facts.held
        self.usage = facts.usage and replace(facts.usage, update_time=now)


@dataclass(slots=True)
class Contacts:
    """By node. Nobody is forgotten: a node that was here once is offline until it comes back."""

    _all: dict[NodeId, Contact] = field(default_factory=dict)
    _elsewhere: set[NodeId] = field(default_factory=set)
    _alive: dict[ReplicaId, datetime] = field(default_factory=dict)
    """When each other replica was last known to live."""
    _news: set[NodeId] = field(default_factory=set)

    def get(self, node: NodeId) -> Contact | None:
        return self._all.get(node)

    def items(self) -> Iterable[tuple[NodeId, Contact]]:
        return self._all.items()

    def values(self) -> Iterable[Contact]:
        return self._all.values()

    def __len__(self) -> int:
        return len(self._all)

    @property
    def number_here(self) -> int:
        return len(self._all) - len(self._elsewhere)

    def here(self, node: NodeId, epoch: int) -> Contact | None:
        """The contact, when it is by this session of this replica's own."""
        contact = self._all.get(node)
        return contact if contact is not None and contact.epoch == epoch and contact.replica is None else None

    def open(self, node: NodeId, contact: Contact) -> Contact | None:
        """A session of this replica began; returns the contact that it replaces."""
        before = self._all.get(node)
        if before is not None:
            # What is wrong with the node does not end with the session that told it.
            contact.problems, contact.held = before.problems, before.held
        self._all[node] = contact
        self._elsewhere.discard(node)
        self._news.add(node)
        return before

    def changed(self, node: NodeId) -> None:
        """Others shall hear of it, if it is this replica's to tell."""
        if node not in self._elsewhere:
            self._news.add(node)

    def news(self) -> Collection[NodeId]:
        """The nodes of this replica of whose sessions there is more to tell than at the last call."""
        news, self._news = self._news, set()
        return news

    def of_this_replica(self) -> AbstractSet[NodeId]:
        """The nodes whose newest session is or was here."""
        return self._all.keys() - self._elsewhere

    def facts(self, node: NodeId) -> SessionFacts | None:
        """For the others; None when the node's session is not here."""
        contact = self._all.get(node)
        return contact.facts(node) if contact is not None and contact.replica is None else None

    def adopt(self, replica: ReplicaId, facts: SessionFacts, now: datetime) -> tuple[Contact | None, Contact] | None:
        """What was and what is, by the word of another replica; None when a newer session is known."""
        before = self._all.get(facts.node)
        if before is not None and before.epoch == facts.epoch and before.replica == replica:
            was = replace(before)
            before.take(facts, now)
            return was, before
        if before is not None and before.epoch >= facts.epoch:
            return None
        contact = self._all[facts.node] = Contact(now, facts.epoch, facts.serial, facts.process_id, replica=replica)
        self._elsewhere.add(facts.node)
        self._news.discard(facts.node)
        contact.take(facts, now)
        return before, contact

    def alive(self, replicas: Iterable[ReplicaId], now: datetime) -> None:
        """These others live; the sessions of any that does not are broken."""
        self._alive = dict.fromkeys(replicas, now)
        for contact in self._broken():
            contact.connected, contact.broke_at = False, now

    def heard_at(self, contact: Contact) -> datetime:
        """A replica that lives would have said so if it had lost the node."""
        if contact.replica is None or not (contact.online and contact.connected):
            return contact.heard_at
        return max(contact.heard_at, self._alive.get(contact.replica, contact.heard_at))

    def _broken(self) -> Iterator[Contact]:
        for node in self._elsewhere:
            contact = self._all[node]
            if contact.connected and contact.replica not in self._alive:
                yield contact
