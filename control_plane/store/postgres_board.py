"""The board in PostgreSQL: a session and a thread of its own, and one transaction a beat."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TypeVar
from uuid import uuid4

from psycopg import errors

from control_plane.domain.ids import ReplicaId
from control_plane.domain.replica import Place, Replica
from control_plane.store.board_rows import BoardRows, Errand
from control_plane.store.board_tables import NOTES_AT_ONCE
from control_plane.store.board_view import Limits, Posted, Seen, View
from control_plane.store.postgres_faults import refusals
from control_plane.store.postgres_link import Link
from control_plane.use_cases.board import Bulletin, NoteKey

T = TypeVar("T")
Notes = Mapping[NoteKey, bytes | None]
Errands = Sequence[Errand]

SWEEP_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class _Reading:
    """What one beat found, once it is committed."""

    rows: Sequence[Seen]
    living: Sequence[Replica]
    posted: Sequence[Posted]
    now: float
    term: int
    leader: ReplicaId
    anew: bool


class PostgresBoard:
    """Fills the port Board."""

    def __init__(self, link: Link, limits: Limits) -> None:
        self.me = ReplicaId(str(uuid4()))
        self._limits = limits
        # Not a secret. PostgreSQL takes locks of two numbers of 32 bits.
        self._rows = BoardRows(self.me, random.randrange(1, 2**31), link)  # noqa: S311 - see above
        self._view = View(self.me, limits)
        self._thread = ThreadPoolExecutor(1, "store-board")
        self._listeners: list[Callable[[], None]] = []
        self._errands: dict[int, bytes] = {}
        self._is_anew = False
        self._is_first: bool | None = None
        self._sweeps_at = 0.0

    async def beat(self, notes: Notes, errands: Errands, place: Place) -> Bulletin:
        found = await asyncio.get_running_loop().run_in_executor(self._thread, self._beat, notes, errands, place)
        # From here on nothing fails: what was read is told.
        self._rows.told()
        told = self._view.take(found.rows, found.living, found.posted, found.now, anew=found.anew)
        taken, self._errands, self._is_anew = self._errands, {}, False
        if self._is_first is None:
            self._is_first = not any(row.holds_lock for row in found.rows if row.id != self.me)
        replicas = tuple(replace(one, leads=one.id == found.leader) for one in found.living)
        ordered = tuple(taken[number] for number in sorted(taken))
        return Bulletin(self.me, replicas, found.term, tuple(told), ordered, found.anew, self._is_first)

    def on_news(self, listener: Callable[[], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def heard(self, replica: str) -> None:
        """On the loop: this one has posted, come or gone."""
        if replica != self.me:
            for listener in tuple(self._listeners):
                listener()

    async def leave(self) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._leave)
        finally:
            await asyncio.to_thread(self.close)

    def close(self) -> None:
        """As it is: the others find out."""
        self._thread.shutdown()
        self._rows.close()

    def _beat(self, notes: Notes, errands: Errands, place: Place) -> _Reading:
        with refusals():
            waiting = iter(notes.items())
            some = dict(islice(waiting, NOTES_AT_ONCE))
            while len(some) == NOTES_AT_ONCE:
                self._in_transaction(partial(self._post, some, (), place))
                some = dict(islice(waiting, NOTES_AT_ONCE))
            return self._in_transaction(partial(self._post_and_read, some, errands, place))

    def _leave(self) -> None:
        with refusals():
            self._in_transaction(self._take_off)

    def _take_off(self) -> tuple[None, bool]:
        self._rows.leave()
        return None, True

    def _in_transaction(self, work: Callable[[], tuple[T, bool]]) -> T:
        """`work` returns with its result whether there is news for the others."""
        try:
            self._rows.begin()
            result, is_news = work()
            self._rows.commit(with_news=is_news)
        except errors.ReadOnlySqlTransaction:
            # The next connection may lead to the server that took over.
            self._rows.close()
            raise
        finally:
            self._rows.end()
        return result

    def _post(self, notes: Notes, errands: Errands, place: Place) -> tuple[None, bool]:
        is_missing = self._rows.show(place)
        self._is_anew |= is_missing
        self._rows.post_notes(notes)
        self._rows.post_errands(errands)
        return None, is_missing or bool(notes or errands)

    def _post_and_read(self, notes: Notes, errands: Errands, place: Place) -> tuple[_Reading, bool]:
        _, is_news = self._post(notes, errands, place)
        anew = self._is_anew
        # Before the replicas: who leads by then is among them.
        term, leader = self._rows.leader()
        rows, now = self._rows.replicas()
        living = self._view.living(rows, now, anew=anew)
        posted = list(self._rows.notes(self._view.lasts(living, anew=anew)))
        # Kept until a beat is known to be committed: if this one is in the end, they are on the board no more.
        self._errands |= self._rows.take_errands()
        if leader == self.me:
            self._sweep(rows, now)
        elif claimed := 0 if _leads_on(leader, rows, living) else self._rows.claim(leader):
            term, leader, is_news = claimed, self.me, True
        return _Reading(rows, living, posted, now, term if leader == self.me else 0, leader, anew), is_news

    def _sweep(self, rows: Sequence[Seen], now: float) -> None:
        if abs(now - self._sweeps_at) < SWEEP_EVERY_S:
            return
        self._sweeps_at = now
        age_s = self._limits.swept.total_seconds()
        dead = [row.id for row in rows if abs(row.age_s) > age_s]
        self._rows.sweep(dead, age_s)


def _leads_on(leader: ReplicaId, rows: Sequence[Seen], living: Sequence[Replica]) -> bool:
    """Not once its session has ended. It may live and come back: what it would still write, the fence keeps out."""
    has_ended = any(row.id == leader and not row.holds_lock for row in rows)
    return not has_ended and any(one.id == leader for one in living)
