"""A board in memory, for replicas in one process that a test lets live and die."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from control_plane.domain.errors import StorageUnavailable
from control_plane.domain.ids import ReplicaId
from control_plane.domain.replica import Place, Replica
from control_plane.use_cases.board import Bulletin, Note, NoteKey
from tests.fakes.clock import NOON


@dataclass(slots=True)
class Wall:
    """Where all boards look."""

    places: dict[ReplicaId, Place] = field(default_factory=dict)
    notes: dict[tuple[ReplicaId, NoteKey], tuple[int, bytes | None]] = field(default_factory=dict)
    errands: list[tuple[ReplicaId, bytes]] = field(default_factory=list)
    leader: ReplicaId | None = None
    term: int = 0
    is_away: bool = False
    numbers: count[int] = field(default_factory=lambda: count(1))

    def board(self, name: str) -> MemoryBoard:
        return MemoryBoard(self, ReplicaId(name))

    def kill(self, name: str) -> None:
        replica = ReplicaId(name)
        self.places.pop(replica, None)
        if self.leader == replica:
            self.leader = None

    def crash(self) -> None:
        """What is not logged is gone."""
        self.places.clear()
        self.notes.clear()
        self.errands.clear()


@dataclass(slots=True)
class MemoryBoard:
    wall: Wall
    me: ReplicaId
    beats: int = 0
    _read: dict[ReplicaId, int] = field(default_factory=dict)

    async def beat(
        self, notes: Mapping[NoteKey, bytes | None], errands: Sequence[tuple[ReplicaId, bytes]], place: Place
    ) -> Bulletin:
        wall = self.wall
        if wall.is_away:
            raise StorageUnavailable("The database is away.", "Bring it back.")
        anew, first = self.me not in wall.places, not self.beats and not wall.places
        self.beats += 1
        wall.places[self.me] = place
        for key, content in notes.items():
            wall.notes[self.me, key] = (next(wall.numbers), content)
        wall.errands += errands
        if wall.leader not in wall.places:
            wall.leader, wall.term = self.me, wall.term + 1
        mine = tuple(content for to, content in wall.errands if to == self.me)
        wall.errands = [errand for errand in wall.errands if errand[0] != self.me]
        return Bulletin(
            self.me,
            tuple(Replica(replica, where, NOON, replica == wall.leader) for replica, where in wall.places.items()),
            wall.term if wall.leader == self.me else 0,
            tuple(self._unread()),
            mine,
            anew,
            first,
        )

    def on_news(self, _listener: Callable[[], None]) -> Callable[[], None]:
        return lambda: None

    async def leave(self) -> None:
        self.wall.kill(self.me)

    def _unread(self) -> list[Note]:
        living = self.wall.places.keys() - {self.me}
        self._read = {replica: number for replica, number in self._read.items() if replica in living}
        found = []
        for (replica, (kind, key)), (number, content) in sorted(self.wall.notes.items(), key=lambda item: item[1][0]):
            if replica in living and number > self._read.get(replica, 0):
                self._read[replica] = number
                found.append(Note(replica, kind, key, content))
        return found
