"""What this replica knows and the board does not say yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Protocol

from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.matrix import HttpFigures
from control_plane.replicas.notes import INSTANCE, SESSION, TRAFFIC, NoteKind, instance_key, instance_of
from control_plane.sessions.fleet import FleetState
from control_plane.use_cases.board import NoteKey


class Figures(Protocol):
    """What this replica's gateway measured."""

    def measured(self) -> Mapping[NodeId, HttpFigures]:
        """Of the nodes that answered lately."""


class Telling:
    """Follows the fleet. What is taken counts as told, unless it is given back."""

    def __init__(self, fleet: FleetState, figures: Figures) -> None:
        self._fleet = fleet
        self._figures = figures
        self._sessions: set[NodeId] = set()
        self._instances: set[tuple[NodeId, RuntimeId]] = set()
        self._gone: set[NoteKey] = set()
        self._posted: dict[NodeId, set[NoteKey]] = defaultdict(set)
        """What stands on the board of each node."""
        self._traffic: dict[NodeId, HttpFigures] = {}
        fleet.on_instance(lambda node, runtime: self._instances.add((node, runtime)))

    def everything(self) -> None:
        """Somebody came who reads the board, or it says nothing of this replica any more."""
        self._posted.clear()
        self._traffic.clear()
        self._sessions.update(self._fleet.contacts.of_this_replica())

    def nothing(self) -> None:
        """Nobody is there to read it."""
        self._fleet.contacts.news()
        self._forget()

    def take(self) -> dict[NoteKey, bytes | None]:
        """What is new since it was told last, or no longer so."""
        here = self._fleet.contacts.of_this_replica()
        self._follow_moves(here)
        notes: dict[NoteKey, bytes | None] = dict.fromkeys(self._gone)
        for node in self._sessions & here:
            notes[NoteKind.SESSION, node] = self._session(node)
        for node, runtime in self._instances:
            if node in here:
                notes[NoteKind.INSTANCE, instance_key(node, runtime)] = self._instance(node, runtime)
        self._forget()
        self._count(notes)
        return {**notes, **self._moved_traffic()}

    def give_back(self, notes: Mapping[NoteKey, bytes | None]) -> None:
        """They could not be posted."""
        for note, content in notes.items():
            kind, key = note
            if kind == NoteKind.TRAFFIC:
                self._traffic.pop(NodeId(key), None)
            elif content is None:
                self._gone.add(note)
            elif kind == NoteKind.SESSION:
                self._sessions.add(NodeId(key))
            else:
                self._instances.add(instance_of(key))

    def _follow_moves(self, here: AbstractSet[NodeId]) -> None:
        """A node that came is told whole; of one that went to another replica everything is taken back."""
        self._sessions.update(self._fleet.contacts.news())
        for node in self._posted.keys() - here:
            self._gone |= self._posted.pop(node)
        for node in (self._sessions & here) - self._posted.keys():
            self._instances.update((node, runtime) for runtime in self._fleet.reported(node))

    def _forget(self) -> None:
        for waiting in (self._sessions, self._instances, self._gone):
            waiting.clear()

    def _session(self, node: NodeId) -> bytes | None:
        facts = self._fleet.contacts.facts(node)
        return SESSION.write(facts) if facts else None

    def _instance(self, node: NodeId, runtime: RuntimeId) -> bytes | None:
        reported = self._fleet.reported(node).get(runtime)
        return INSTANCE.write(reported) if reported else None

    def _count(self, notes: Mapping[NoteKey, bytes | None]) -> None:
        for note, content in notes.items():
            node = NodeId(note[1].partition(" ")[0])
            if content is not None:
                self._posted[node].add(note)
            elif node in self._posted:
                self._posted[node].discard(note)

    def _moved_traffic(self) -> dict[NoteKey, bytes | None]:
        before, self._traffic = self._traffic, dict(self._figures.measured())
        return {
            (NoteKind.TRAFFIC, node): TRAFFIC.write(self._traffic[node]) if node in self._traffic else None
            for node in before.keys() | self._traffic.keys()
            if before.get(node) != self._traffic.get(node)
        }
