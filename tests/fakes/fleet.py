"""The Fleet port, with connections that a test makes and breaks by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from control_plane.domain.footprint import Footprints
from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.instance import Instance, InstanceState
from control_plane.domain.node import HeldRemoval, Liveness
from control_plane.domain.problem import Problem
from control_plane.sessions.footprints import LearntFootprints

Listener = Callable[[NodeId, RuntimeId], None]


@dataclass(slots=True)
class FakeFleet:
    reported: dict[tuple[NodeId, RuntimeId], Instance] = field(default_factory=dict)
    contacts: dict[NodeId, Liveness] = field(default_factory=dict)
    learnt: LearntFootprints = field(default_factory=LearntFootprints)
    listeners: list[Listener] = field(default_factory=list)
    node_listeners: list[Callable[[NodeId], None]] = field(default_factory=list)

    def connect(self, node: str, at: datetime | None = None) -> None:
        self.contacts[NodeId(node)] = Liveness(online=True, last_contact=at)
        self._tell_all(NodeId(node))

    def disconnect(self, node: str, at: datetime | None = None) -> None:
        self.contacts[NodeId(node)] = Liveness(online=False, last_contact=at, offline_since=at)
        self._tell_all(NodeId(node))

    def liveness(self, node: NodeId) -> Liveness:
        return self.contacts.get(node, Liveness(online=False))

    def online(self) -> Iterable[NodeId]:
        return [node for node, liveness in self.contacts.items() if liveness.online]

    def instance(self, node: NodeId, runtime: RuntimeId) -> Instance | None:
        known = self.reported.get((node, runtime))
        return known and self._seen(known)

    def instances(self, node: NodeId | None = None) -> Sequence[Instance]:
        return [self._seen(known) for known in self.reported.values() if node in (None, known.node)]

    def footprints(self) -> Footprints:
        return self.learnt.told

    def record(self, instance: Instance) -> Instance | None:
        before = self.reported.get((instance.node, instance.runtime))
        self.reported[instance.node, instance.runtime] = instance
        self._tell(instance.node, instance.runtime)
        return before

    def forget(self, node: NodeId, runtime: RuntimeId) -> None:
        self.reported.pop((node, runtime), None)
        self._tell(node, runtime)

    def trouble(self, node: NodeId, problems: Sequence[Problem], held: Sequence[HeldRemoval] = ()) -> None:
        self.contacts[node] = replace(self.liveness(node), problems=tuple(problems), held=tuple(held))
        self._tell_of(node)

    def on_node(self, listener: Callable[[NodeId], None]) -> Callable[[], None]:
        self.node_listeners.append(listener)
        return lambda: self.node_listeners.remove(listener)

    def on_instance(self, listener: Listener) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def _seen(self, instance: Instance) -> Instance:
        online = self.liveness(instance.node).online
        return instance if online else replace(instance, state=InstanceState.UNKNOWN)

    def _tell_of(self, node: NodeId) -> None:
        for listener in tuple(self.node_listeners):
            listener(node)

    def _tell_all(self, node: NodeId) -> None:
        self._tell_of(node)
        for known in tuple(self.reported.values()):
            if known.node == node:
                self._tell(known.node, known.runtime)

    def _tell(self, node: NodeId, runtime: RuntimeId) -> None:
        for listener in tuple(self.listeners):
            listener(node, runtime)
