"""What one replica has read of the others. Pure: every time in it is the database's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from control_plane.domain.ids import ReplicaId
from control_plane.domain.replica import Place, Replica
from control_plane.use_cases.board import Note, NoteKey


@dataclass(frozen=True, slots=True)
class Limits:
    lost: timedelta = timedelta(seconds=3)
    """A replica not seen for so long is dead when its session has ended, as that of a killed one does at once.

    It leads no more as soon as its session has ended.
    """
    silent: timedelta = timedelta(seconds=10)
    """One not seen for so long is dead in any case: it stands still, or is cut off."""
    swept: timedelta = timedelta(seconds=60)
    """The leader then removes what is left of it; of a note that is gone, after twice as long."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A replica's row."""

    id: ReplicaId
    registration: int
    """Goes up each time that it comes onto the board."""
    place: Place
    start_time: datetime
    age_s: float
    """Since its last beat; below 0 when the database's clock was set back."""
    holds_lock: bool

    def lives(self, limits: Limits) -> bool:
        limit = limits.silent if self.holds_lock else limits.lost
        return abs(self.age_s) <= limit.total_seconds()


@dataclass(frozen=True, slots=True)
class Posted:
    """A note's row."""

    replica: ReplicaId
    kind: str
    key: str
    seq: int
    content: bytes | None


@dataclass(slots=True)
class _Known:
    """Another replica, as this one has told of it."""

    replica: Replica
    registration: int
    last: int = 0
    """The highest number that was read; each replica numbers its notes itself, upward."""
    notes: set[NoteKey] = field(default_factory=set)
    """That it has, as far as was read."""
    doubted: set[NoteKey] = field(default_factory=set)
    """Of those, what it may have taken back unseen: it has to tell them again."""
    doubt_ends: float = 0.0
    missing_since: float | None = None
    """The board was emptied, and it has not come back yet."""

    def read(self, note: Posted) -> list[Note]:
        """Nothing when it came and went between two looks."""
        key = (note.kind, note.key)
        was_there = key in self.notes
        self.last = note.seq
        self.doubted.discard(key)
        if note.content is None:
            self.notes.discard(key)
        else:
            self.notes.add(key)
        return [Note(note.replica, *key, note.content)] if was_there or note.content is not None else []

    def doubt(self, until: float) -> None:
        self.doubted = set(self.notes)
        self.doubt_ends = until

    def resolved(self, now: float) -> list[Note]:
        """What it did not tell again in time is gone."""
        if not self.doubted or now < self.doubt_ends:
            return []
        gone, self.doubted = self.doubted, set()
        self.notes -= gone
        return [Note(self.replica.id, kind, key, None) for kind, key in sorted(gone)]


class View:
    """Asked before the beat is committed, told after it: a beat that failed has read nothing."""

    def __init__(self, me: ReplicaId, limits: Limits) -> None:
        self._me = me
        self._limits = limits
        self._known: dict[ReplicaId, _Known] = {}

    def living(self, rows: Sequence[Seen], now: float, *, anew: bool) -> tuple[Replica, ...]:
        """`anew`: this replica was not on the board. Then those that are missing too get time to come back."""
        there = {row.id for row in rows}
        alive = [_replica(row) for row in rows if row.id == self._me or row.lives(self._limits)]
        missing = [known.replica for name, known in self._known.items() if name not in there]
        kept = [one for one in missing if self._may_come_back(self._known[one.id], now, anew=anew)]
        return tuple(sorted([*alive, *kept], key=lambda one: (one.start_time, one.id)))

    def lasts(self, living: Iterable[Replica], *, anew: bool) -> Mapping[ReplicaId, int]:
        """From where the notes of each other replica are to be read; 0: all that it has."""
        others = [one.id for one in living if one.id != self._me]
        return {name: self._known[name].last if name in self._known and not anew else 0 for name in others}

    def take(
        self, rows: Sequence[Seen], living: Sequence[Replica], posted: Iterable[Posted], now: float, *, anew: bool
    ) -> list[Note]:
        """The notes to tell of, those included that disappeared unseen."""
        registrations = {row.id: row.registration for row in rows}
        before, self._known = self._known, {}
        for one in living:
            if one.id != self._me:
                known = before.get(one.id) or _Known(one, registrations[one.id])
                self._meet(known, one, registrations.get(one.id), now, anew=anew)
        notes = [told for note in posted for told in self._known[note.replica].read(note)]
        return notes + [gone for known in self._known.values() for gone in known.resolved(now)]

    def _meet(self, known: _Known, replica: Replica, registration: int | None, now: float, *, anew: bool) -> None:
        self._known[replica.id] = known
        known.replica = replace(replica, leads=False)
        if registration is None:
            known.missing_since = now if known.missing_since is None else known.missing_since
            return
        known.missing_since = None
        if registration != known.registration:
            # It tells everything again, in one beat or a few.
            known.registration = registration
            known.doubt(now + self._limits.silent.total_seconds())
        elif anew:
            # Everything it has is read again now, so what does not come is not there.
            known.doubt(now)

    def _may_come_back(self, known: _Known, now: float, *, anew: bool) -> bool:
        since = now if anew and known.missing_since is None else known.missing_since
        return since is not None and abs(now - since) <= self._limits.lost.total_seconds()


def _replica(row: Seen) -> Replica:
    return Replica(row.id, row.place, row.start_time)
