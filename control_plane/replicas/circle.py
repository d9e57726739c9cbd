"""This replica among the others: a beat each second, and one soon after news."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import structlog

from control_plane.domain.errors import StorageUnavailable
from control_plane.domain.ids import NodeId, ReplicaId
from control_plane.domain.replica import Place, Replica
from control_plane.replicas.notes import INSTANCE, SESSION, TRAFFIC, NoteKind, instance_of
from control_plane.replicas.telling import Telling
from control_plane.replicas.traffic import SharedTraffic
from control_plane.sessions.fleet import FleetState
from control_plane.use_cases.board import Board, Bulletin, Note

MAX_ERRANDS = 1000
"""That wait to be posted."""

_log = structlog.get_logger()


class Sessions(Protocol):
    """The agents' streams at this replica."""

    def replicas_changed(self) -> None:
        """Tell every agent where the replicas are now."""

    def overtaken(self, node: NodeId, epoch: int, process_id: str) -> None:
        """A newer session of the node is elsewhere."""

    def errand(self, content: bytes) -> None:
        """Do what another replica asked for."""

    def step_aside(self) -> None:
        """Send the agents to other replicas, and take no new ones."""

    def come_back(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Pace:
    beat: timedelta = timedelta(seconds=1)
    coalesce: timedelta = timedelta(milliseconds=50)
    """Between two beats, whatever happens."""
    cut_off: timedelta = timedelta(seconds=10)
    """Without an answer of the board; then others serve the agents better."""


class Circle:
    """Only touched on the loop. `join` first, `serve`, then `run`; `leave` at the end."""

    def __init__(
        self,
        board: Board,
        fleet: FleetState,
        traffic: SharedTraffic,
        telling: Telling,
        *,
        place: Callable[[], Place],
        pace: Pace,
    ) -> None:
        self.me = ReplicaId("")
        self.replicas: tuple[Replica, ...] = ()
        """All that live, this one included, the oldest first."""
        self.term = 0
        """Of this replica's leadership; 0: another one leads, or nobody."""
        self._board = board
        self._fleet = fleet
        self._traffic = traffic
        self._telling = telling
        self._place = place
        self._pace = pace
        self._told: Sequence[Place] = [place()]
        """Where agents were told last that the control plane is reached."""
        self._sessions: Sessions | None = None
        self._errands: list[tuple[ReplicaId, bytes]] = []
        self._bell = asyncio.Event()
        self._answered_at = time.monotonic()
        self._is_aside = self._has_left = False
        self._on_lead: list[Callable[[], None]] = []
        self._on_move: list[Callable[[], None]] = []

    @property
    def leads(self) -> bool:
        return self.term > 0

    @property
    def others(self) -> frozenset[ReplicaId]:
        return frozenset(replica.id for replica in self.replicas) - {self.me}

    def on_lead(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever this replica has begun to lead."""
        self._on_lead.append(listener)

    def on_move(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever replicas came, went, or are reached elsewhere."""
        self._on_move.append(listener)

    def places(self) -> Sequence[Place]:
        """Where agents reach the control plane: this replica first."""
        elsewhere = [replica.place for replica in self.replicas if replica.id != self.me]
        return [self._place(), *(place for place in elsewhere if place.grpc_address)]

    def send(self, node: NodeId, errand: bytes) -> bool:
        """Ask the replica that has the node's stream; False when none has, or too much waits already."""
        replica = self._fleet.replica_of(node)
        if replica not in self.others or len(self._errands) >= MAX_ERRANDS:
            return False
        self._errands.append((replica, errand))
        self.ring()
        return True

    def ring(self) -> None:
        self._bell.set()

    def settled(self) -> None:
        """Its own place is known from now on: agents that came before hear of it at once."""
        self._tell_places()
        self.ring()

    async def join(self) -> bool:
        """Come onto the board; True when no other replica is there. StorageUnavailable."""
        bulletin = await self._board.beat({}, (), self._place())
        await self._take_in(bulletin)
        return bulletin.first

    def serve(self, sessions: Sessions) -> None:
        """From now on these hear what others want of this replica."""
        self._sessions = sessions

    async def run(self) -> None:
        ends = [
            self._board.on_news(self.ring),
            self._fleet.on_node(lambda _: self._has_news()),
            self._fleet.on_instance(lambda *_: self._has_news()),
        ]
        try:
            while not self._has_left:
                self._bell.clear()
                await self.beat()
                await asyncio.sleep(self._pace.coalesce.total_seconds())
                await self._rung()
        finally:
            for end in ends:
                end()

    async def leave(self) -> None:
        """The others need not wait to find out."""
        self._has_left = True
        try:
            await self._board.leave()
        except StorageUnavailable as refusal:
            _log.warning("board_not_left", text=refusal.text)

    def _has_news(self) -> None:
        if self.others:
            self.ring()

    async def beat(self) -> None:
        """Post what is new, and take in what stands on the board. For `run`."""
        if self.others:
            notes = self._telling.take()
        else:
            self._telling.nothing()
            notes = {}
        errands, self._errands = self._errands, []
        try:
            bulletin = await self._board.beat(notes, errands, self._place())
        except StorageUnavailable as refusal:
            self._telling.give_back(notes)
            self._errands = [*errands, *self._errands][:MAX_ERRANDS]
            self._unanswered(refusal)
            return
        await self._take_in(bulletin)

    def _unanswered(self, refusal: StorageUnavailable) -> None:
        since = time.monotonic() - self._answered_at
        if self._is_aside or not self.others or since < self._pace.cut_off.total_seconds():
            return
        self._is_aside = True
        _log.error("stepping_aside", seconds=round(since), text=refusal.text)
        if self._sessions is not None:
            self._sessions.step_aside()

    async def _take_in(self, bulletin: Bulletin) -> None:
        self._answered_at = time.monotonic()
        others_before = self.others
        self.me, self.replicas = bulletin.me, bulletin.replicas
        self._fleet.alive(self.others)
        self._traffic.alive(self.others)
        if bulletin.anew or self.others - others_before:
            self._telling.everything()
            self.ring()
        for note in sorted(bulletin.notes, key=_sessions_first):
            self.read(note)
        self._lead(bulletin.term)
        self._tell_places()
        if self._sessions is not None:
            self._serve(self._sessions, bulletin)

    def _tell_places(self) -> None:
        if self._told == self.places():
            return
        self._told = self.places()
        _log.info("replicas_changed", replicas=[place.grpc_address for place in self.places()])
        for listener in self._on_move:
            listener()
        if self._sessions is not None:
            self._sessions.replicas_changed()

    def _serve(self, sessions: Sessions, bulletin: Bulletin) -> None:
        if self._is_aside:
            self._is_aside = False
            sessions.come_back()
        for errand in bulletin.errands:
            sessions.errand(errand)

    def _lead(self, term: int) -> None:
        before, self.term = self.term, term
        self._fleet.answers_for_all = self.leads
        if term and term != before:
            _log.info("leading", term=term)
            for listener in self._on_lead:
                listener()
        elif before and not term:
            _log.info("leads_no_longer", term=before)

    def read(self, note: Note) -> None:
        """Take in what another replica tells."""
        match note.kind:
            case NoteKind.SESSION:
                self._read_session(note)
            case NoteKind.INSTANCE:
                node, runtime = instance_of(note.key)
                instance = INSTANCE.read(note.content) if note.content else None
                if instance is not None or note.content is None:
                    self._fleet.adopt_instance(note.replica, node, runtime, instance)
            case NoteKind.TRAFFIC:
                figures = TRAFFIC.read(note.content) if note.content else None
                self._traffic.adopt(note.replica, NodeId(note.key), figures)
            case _:
                # Of a newer version.
                return

    def _read_session(self, note: Note) -> None:
        """One that is taken back stands until the replica that has the node now tells of it."""
        facts = SESSION.read(note.content) if note.content else None
        if facts is not None and self._fleet.adopt(note.replica, facts) and self._sessions is not None:
            self._sessions.overtaken(facts.node, facts.epoch, facts.process_id)

    async def _rung(self) -> None:
        try:
            async with asyncio.timeout(self._pace.beat.total_seconds()):
                await self._bell.wait()
        except TimeoutError:
            return


def _sessions_first(note: Note) -> bool:
    """What a node reported counts only for the replica that has its session."""
    return note.kind != NoteKind.SESSION
