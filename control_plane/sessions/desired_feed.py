"""What one node still has to be told of its desired state. Pure: pages of the store go in, batches come out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from arw.v1 import session_pb2 as pb
from arw.v1.node_pb2 import HeldRemoval
from control_plane.domain.desired import DesiredRow, digest
from control_plane.domain.errors import ProtocolViolation, Unavailable
from control_plane.sessions.convert import removal_to_proto, resource_to_proto
from control_plane.sessions.rules import SessionRules


@dataclass(frozen=True, slots=True)
class Held:
    """What the node said in Hello that it has completely stored."""

    history_id: str
    revision: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to read of the node's desired state, in one transaction."""

    since: int
    whole: bool
    """Also every live row."""


@dataclass(frozen=True, slots=True)
class DesiredPage:
    """One consistent read."""

    history_id: str
    revision: int
    compacted_revision: int
    rows: tuple[DesiredRow, ...]
    """With a revision higher than asked, tombstones included."""
    live: tuple[DesiredRow, ...] | None
    """Every row; None when that was not asked."""


@dataclass(frozen=True, slots=True)
class _Sent:
    at: datetime
    digest: bytes
    """Of the node's whole set once this is stored; empty before the last chunk of a set."""
    names: tuple[str, ...]


class DesiredFeed:
    """Chooses delta or snapshot, chunks, keeps at most two batches unacknowledged, and lets newer changes coalesce."""

    def __init__(self, rules: SessionRules, held: Held, *, delta: bool) -> None:
        self._rules = rules
        self._held = held
        self._delta = delta
        self._known: dict[str, tuple[int, int]] = {}
        """Name to (generation, revision) of the node's whole set at `_cursor`."""
        self._cursor = held.revision
        self._told = 0
        """`to_revision` of the last set that was cut into chunks."""
        self._pending: dict[str, DesiredRow] = {}
        self._whole = True
        self._snapshot = False
        self._announce = False
        self._chunks: list[pb.DesiredBatch] = []
        self._nonce = 0
        self._unacked: dict[int, _Sent] = {}
        self._quiet_since: datetime | None = None
        self._refused: dict[str, datetime] = {}
        """Resources that the node would not take, and when it first said so."""
        self._allowed: list[HeldRemoval] = []
        """To go with the next batch."""

    def wanted(self) -> Wanted:
        return Wanted(self._cursor, self._whole)

    def generation(self, name: str) -> int | None:
        """Of a resource that the node should have; None for anything else."""
        known = self._known.get(name)
        return known[0] if known else None

    def refuses(self, name: str, generation: int) -> bool:
        """Whether the node would still not take this generation, as far as is known."""
        return name in self._refused and (self._whole or self.generation(name) == generation)

    def presume(self, refused: Iterable[str], now: datetime) -> None:
        """The node refused these on an earlier stream; so it stands until it says otherwise."""
        for name in refused:
            self._refused.setdefault(name, now)

    def page(self, page: DesiredPage) -> None:
        """Take in a read. Unavailable when the node is ahead of the store."""
        if page.live is not None:
            self._begin(page, page.live)
        elif page.compacted_revision > self._cursor:
            self._whole = True
        else:
            self._merge(page.rows)
            self._cursor = page.revision

    def announce(self) -> None:
        """Send a bookmark when there is nothing else to say."""
        self._announce = True

    def allow(self, removals: Iterable[HeldRemoval]) -> None:
        """Let the node stop at once what it holds back so; said once, with the next batch."""
        self._allowed += removals
        self._announce = True

    def bookmark_due(self, now: datetime) -> bool:
        quiet = self._quiet_since
        return quiet is not None and self._idle and now - quiet >= self._rules.bookmark_every

    def rests_until(self) -> datetime | None:
        """Nothing is due by time before, unless something happens; None: something may be at any moment."""
        quiet = self._quiet_since
        return quiet + self._rules.bookmark_every if quiet is not None and self._idle else None

    def overdue(self, now: datetime) -> bool:
        return any(now - sent.at >= self._rules.ack_within for sent in self._unacked.values())

    def take(self, now: datetime) -> Iterator[pb.DesiredBatch]:
        """The batches that may be sent now."""
        while len(self._unacked) < self._rules.max_unacked_batches and (self._chunks or self._cut(now)):
            batch = self._chunks.pop(0)
            self._nonce += 1
            batch.nonce = self._nonce
            self._unacked[self._nonce] = _Sent(now, batch.digest_after, tuple(item.name for item in batch.resources))
            self._quiet_since = now
            yield batch

    def acked(self, ack: pb.DesiredAck, now: datetime) -> bool:
        """Note an answer, also a repeated one; False when the node's digest is not the expected one.

        ProtocolViolation for a batch that was never sent.
        """
        if not 0 < ack.nonce <= self._nonce:
            raise ProtocolViolation("The node acknowledged a batch that was never sent.", "Update the node agent.")
        sent = self._unacked.pop(ack.nonce, None)
        same = sent is not None and bool(sent.digest) and ack.desired_digest == sent.digest
        # A repeated answer lists everything that is still refused, and so does one with our own digest;
        # any other speaks of its own batch.
        self._note_refused(ack.problems, self._refused if sent is None or same else sent.names, now)
        return same or sent is None or not sent.digest or bool(self._refused)

    @property
    def _idle(self) -> bool:
        return not (self._unacked or self._chunks or self._pending or self._announce or self._whole)

    def _begin(self, page: DesiredPage, live: tuple[DesiredRow, ...]) -> None:
        """The first page of a session, or the first after history was compacted beneath it."""
        same_history = self._held.history_id == page.history_id
        if same_history and self._cursor > page.revision:
            raise Unavailable(
                f"This replica knows revisions up to {page.revision}; the node already has {self._cursor}.",
                "If the database was restored, stop the control plane and run: arw-control-plane new-history",
            )
        self._known = {row.name: (row.generation, row.revision) for row in live}
        caught_up = same_history and self._delta and self._cursor >= page.compacted_revision and self._told == 0
        self._snapshot = not (caught_up and (page.rows or self._held.digest == self._digest()))
        self._pending = {row.name: row for row in (live if self._snapshot else page.rows)}
        self._told = 0 if self._snapshot else self._cursor
        self._cursor, self._whole, self._announce = page.revision, False, True

    def _merge(self, rows: Iterable[DesiredRow]) -> None:
        for row in rows:
            self._pending[row.name] = row
            if row.content is None:
                self._known.pop(row.name, None)
            else:
                self._known[row.name] = (row.generation, row.revision)

    def _cut(self, now: datetime) -> bool:
        """Turn everything pending into the chunks of one set; False when there is nothing to say yet."""
        if not (self._pending or self._announce) or self._whole or self._held_back(now):
            return False
        rows = sorted(self._pending.values(), key=lambda row: (row.revision, row.name))
        self._chunks.extend(self._chunked(rows))
        self._chunks[-1].allowed_removals.extend(self._allowed)
        self._chunks[-1].last_chunk = True
        self._chunks[-1].digest_after = self._digest()
        self._told, self._pending, self._allowed = self._cursor, {}, []
        self._announce = self._snapshot = False
        return True

    def _chunked(self, rows: Iterable[DesiredRow]) -> Iterator[pb.DesiredBatch]:
        batch, count, size = self._empty_batch(), 0, 0
        for row in rows:
            piece = removal_to_proto(row) if row.content is None else resource_to_proto(row, row.content)
            count, size = count + 1, size + piece.ByteSize()
            if count > self._rules.max_batch_resources or (count > 1 and size > self._rules.max_batch_bytes):
                yield batch
                batch, count, size = self._empty_batch(), 1, piece.ByteSize()
            if isinstance(piece, pb.DesiredRemoval):
                batch.removals.append(piece)
            else:
                batch.resources.append(piece)
        yield batch

    def _empty_batch(self) -> pb.DesiredBatch:
        return pb.DesiredBatch(snapshot=self._snapshot, from_revision=self._told, to_revision=self._cursor)

    def _digest(self) -> bytes:
        return digest((name, generation, revision) for name, (generation, revision) in self._known.items())

    def _held_back(self, now: datetime) -> bool:
        """A controller that writes a bad spec again and again makes no tight loop."""
        if self._announce or not self._pending:
            return False
        return all(
            name in self._refused and now - self._refused[name] < self._rules.refused_hold for name in self._pending
        )

    def _note_refused(self, problems: Iterable[pb.ResourceProblem], settled: Collection[str], now: datetime) -> None:
        still = {problem.name for problem in problems}
        self._refused = {name: at for name, at in self._refused.items() if name in still or name not in settled}
        for name in still.intersection(self._known):
            self._refused.setdefault(name, now)
