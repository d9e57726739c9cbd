"""The numbers that a history hands out: revisions and event ids, each once, in the order of commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from control_plane.store.listeners import BEGINNING, Position
from control_plane.store.session import Session


class Counters(Protocol):
    def take_revision(self) -> int: ...

    def take_event_id(self) -> int: ...

    def position(self) -> Position:
        """The newest of both."""

    def jump(self, by: int) -> None:
        """Leave out so many of each."""


class StoredCounters:
    """In their row, which each number updates."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def take_revision(self) -> int:
        ((revision,),) = self._session.rows(self._session.statements.revise)
        return int(revision)

    def take_event_id(self) -> int:
        ((event_id,),) = self._session.rows(self._session.statements.next_event_id)
        return int(event_id)

    def position(self) -> Position:
        ((revision, last_event_id),) = self._session.rows(self._session.statements.position)
        return Position(revision, last_event_id)

    def jump(self, by: int) -> None:
        self._session.run(self._session.statements.jump, by=by)


@dataclass(slots=True)
class HeldCounters:
    """In memory, for a writer that has locked their row and writes it once, before its commit.

    PostgreSQL finds a row that one transaction updated many times ever more slowly.
    """

    held: Position = BEGINNING

    def take_revision(self) -> int:
        self.held = self.held._replace(revision=self.held.revision + 1)
        return self.held.revision

    def take_event_id(self) -> int:
        self.held = self.held._replace(last_event_id=self.held.last_event_id + 1)
        return self.held.last_event_id

    def position(self) -> Position:
        return self.held

    def jump(self, by: int) -> None:
        self.held = Position(self.held.revision + by, self.held.last_event_id + by)
