"""The statements of one beat, on one session."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from psycopg import errors

from control_plane.domain.ids import ReplicaId
from control_plane.domain.replica import Place
from control_plane.store import board_tables as sql
from control_plane.store.board_view import Posted, Seen
from control_plane.store.codec import Codec
from control_plane.store.postgres_link import Link
from control_plane.use_cases.board import NoteKey

Errand = tuple[ReplicaId, bytes]
PLACE = Codec(Place)
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"

_log = structlog.get_logger()


@dataclass(slots=True)
class BoardRows:
    """One replica's, for one thread. The driver's errors pass through."""

    me: ReplicaId
    number: int
    """Of its lock."""
    _link: Link
    _registration: int = 0
    _started: datetime | None = None
    _seq: int = 0
    """Of its last note. Never goes back, whatever was committed."""
    _batch: int = 0
    """Of the errands that were tried last."""
    _tried: list[Errand] = field(default_factory=list)
    _posted: list[Errand] = field(default_factory=list)
    """By beats that seemed to fail."""

    def begin(self) -> None:
        self._link.begin(_BEGIN)

    def commit(self, *, with_news: bool) -> None:
        self._link.execute(f"NOTIFY {sql.CHANNEL}, '{self.me}'; COMMIT" if with_news else "COMMIT")

    def end(self) -> None:
        """Whatever was begun and is not committed is undone."""
        self._link.end("ROLLBACK")

    def close(self) -> None:
        self._link.close()

    def show(self, place: Place) -> bool:
        """That this replica lives; True when it was not on the board."""
        row: dict[str, Any] = {"me": self.me, "place": PLACE.encode(place), "number": self.number}
        found = self._rows(sql.SEEN, row)
        is_missing = not found
        if is_missing:
            self._registration += 1
            row |= {"registration": self._registration, "started": self._started}
            found = self._rows(sql.REGISTER, row)
        ((self._started, batch),) = found
        if batch == self._batch:
            self._posted += self._tried
        self._tried = []
        self._link.execute(sql.HOLD, row)
        return is_missing

    def post_notes(self, notes: Mapping[NoteKey, bytes | None]) -> None:
        if not notes:
            return
        first, self._seq = self._seq + 1, self._seq + len(notes)
        values = {
            "me": self.me,
            "kinds": [kind for kind, _ in notes],
            "keys": [key for _, key in notes],
            "seqs": list(range(first, self._seq + 1)),
            "contents": list(notes.values()),
        }
        self._link.execute(sql.POST_NOTES, values)

    def post_errands(self, errands: Sequence[Errand]) -> None:
        """Without those that a beat has posted which seemed to fail."""
        self._tried = list(errands)
        for one in self._posted:
            if one in self._tried:
                self._tried.remove(one)
        if not self._tried:
            return
        self._batch += 1
        self._link.execute(sql.MARK, {"me": self.me, "batch": self._batch})
        values = {"replicas": [to for to, _ in self._tried], "contents": [content for _, content in self._tried]}
        self._link.execute(sql.POST_ERRANDS, values)
        if (lost := len(self._tried) - self._link.rowcount) > 0:
            _log.warning("errands_lost", lost=lost, why="the replica has left, or does not read what waits for it")

    def told(self) -> None:
        """The caller knows what was posted, and will not post it again."""
        self._tried, self._posted = [], []

    def take_errands(self) -> dict[int, bytes]:
        """By their numbers, which grow."""
        return {number: bytes(content) for number, content in self._rows(sql.TAKE_ERRANDS, {"me": self.me})}

    def replicas(self) -> tuple[list[Seen], float]:
        """All of them, dead ones too, and what time it is there, in seconds."""
        records = self._rows(sql.REPLICAS)
        return [_seen(record) for record in records], records[0][-1]

    def notes(self, lasts: Mapping[ReplicaId, int]) -> Iterator[Posted]:
        """Each replica's with higher numbers than its last, in their order."""
        lasts = dict(lasts)
        page = bool(lasts)
        while page:
            values = {"replicas": list(lasts), "lasts": list(lasts.values())}
            found = [Posted(*record) for record in self._rows(sql.NOTES, values)]
            lasts |= {note.replica: note.seq for note in found}
            yield from found
            page = len(found) == sql.NOTES_AT_ONCE

    def leader(self) -> tuple[int, ReplicaId]:
        """Its term, and who it is."""
        found = self._rows(sql.LEADER, {"role": sql.ROLE})
        return (found[0][0], ReplicaId(found[0][1])) if found else (0, ReplicaId(""))

    def claim(self, dead: ReplicaId) -> int:
        """The term of this replica in the place of a dead one; 0 when another was first, or the counter is not free."""
        try:
            self._link.execute(sql.TURN_TO_CLAIM)
        except errors.LockNotAvailable as error:
            _log.warning("lead_not_claimed", cause=str(error))
            self._link.execute("ROLLBACK TO claim")
            return 0
        found = self._rows(sql.CLAIM, {"role": sql.ROLE, "me": self.me, "dead": dead})
        return int(found[0][0]) if found else 0

    def sweep(self, dead: Sequence[ReplicaId], age_s: float) -> None:
        """What dead replicas left, and notes that are gone for so long that every other one knows it."""
        self._link.execute(sql.SWEEP, {"replicas": list(dead), "age": age_s})
        self._link.execute(sql.SWEEP_ERRANDS)
        self._link.execute(sql.SWEEP_NOTES, {"age": 2 * age_s})

    def leave(self) -> None:
        for statement in sql.LEAVE:
            self._link.execute(statement, {"me": self.me})

    def _rows(self, statement: str, values: Mapping[str, object] | None = None) -> Sequence[Any]:
        self._link.execute(statement, values)
        return self._link.fetchall()


def _seen(record: Sequence[Any]) -> Seen:
    name, registration, place, started, age_s, holds_lock, _ = record
    return Seen(ReplicaId(name), registration, PLACE.decode(place), started.astimezone(UTC), age_s, holds_lock)
