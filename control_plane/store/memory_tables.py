"""Rows in memory, kept as documents as they would be on disk, so that nothing is shared by accident."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Generic, TypeVar
from uuid import uuid4

from control_plane.domain.desired import DesiredRow, Placed
from control_plane.domain.event import Event, EventsKept
from control_plane.domain.ids import NodeId
from control_plane.domain.node import Node
from control_plane.store import codec
from control_plane.store.codec import Codec
from control_plane.store.retention import REQUESTS_KEPT, request_id_reused
from control_plane.store.rows import Identified
from control_plane.use_cases.ports import Change, Clock

Row = TypeVar("Row", bound=Identified)
Key_contra = TypeVar("Key_contra", bound=str, contravariant=True)


@dataclass(slots=True)
class State:
    """Everything that is stored. A change works on a copy, which then takes the place of the original."""

    history_id: str = field(default_factory=lambda: uuid4().hex)
    revision: int = 0
    compacted_revision: int = 0
    last_event_id: int = 0
    changes: tuple[Change, ...] = ()
    events: tuple[Event, ...] = ()
    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    """Collection -> id -> document."""
    desired: dict[tuple[NodeId, str], DesiredRow] = field(default_factory=dict)
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    """By method and request id."""
    is_writable: bool = False

    def copy(self) -> State:
        rows = {collection: dict(documents) for collection, documents in self.rows.items()}
        return replace(self, rows=rows, desired=dict(self.desired), answers=dict(self.answers), is_writable=True)

    def changing(self) -> State:
        """Itself, while a change runs on it."""
        if not self.is_writable:
            raise RuntimeError("A read must not write.")
        return self


@dataclass(frozen=True, slots=True)
class Answer:
    request_sha256: str
    answer: bytes
    time: datetime


class MemoryTable(Generic[Key_contra, Row]):
    """`revise` is told the id of every row that is put or deleted."""

    def __init__(
        self, state: State, collection: str, rows: Codec[Row], revise: Callable[[str], object] | None = None
    ) -> None:
        self._state = state
        self._revise = revise
        self._codec = rows
        self._collection = collection

    def get(self, key: Key_contra) -> Row | None:
        document = self._documents().get(key)
        return None if document is None else self._codec.decode(document)

    def put(self, row: Row) -> None:
        self._state.changing().rows.setdefault(self._collection, {})[row.id] = self._codec.encode(row)
        self._touched(row.id)

    def delete(self, key: Key_contra) -> None:
        if self._state.changing().rows.get(self._collection, {}).pop(key, None) is not None:
            self._touched(key)

    def page(self, after: str, limit: int) -> Sequence[Row]:
        return [self._codec.decode(self._documents()[key]) for key in islice(self._keys_after(after), limit)]

    def all(self) -> Sequence[Row]:
        return [self._codec.decode(document) for _, document in sorted(self._documents().items())]

    def _touched(self, key: str) -> None:
        if self._revise is not None:
            self._revise(key)

    def _documents(self) -> dict[str, str]:
        return self._state.rows.get(self._collection, {})

    def _keys_after(self, after: str) -> Iterable[str]:
        return (key for key in sorted(self._documents()) if key > after)


class MemoryNodes(MemoryTable[NodeId, Node]):
    """A node's session epoch never goes back, whatever row is put."""

    def __init__(self, state: State, revise: Callable[[str], object]) -> None:
        super().__init__(state, "nodes", codec.NODE, revise)

    def put(self, row: Node) -> None:
        stored = self.get(row.id)
        epoch = max(row.session_epoch, stored.session_epoch if stored else 0)
        super().put(replace(row, session_epoch=epoch))


class MemoryDesiredTable:
    def __init__(self, state: State, take_revision: Callable[[], int]) -> None:
        self._state = state
        self._take_revision = take_revision

    def put(self, node: NodeId, name: str, generation: int, content: Placed) -> None:
        copy = codec.PLACED.decode(codec.PLACED.encode(content))
        row = DesiredRow(node, name, self._take_revision(), generation, copy)
        self._state.changing().desired[node, name] = row

    def bury(self, node: NodeId, name: str) -> None:
        revision = self._take_revision()
        row = self._state.changing().desired.get((node, name))
        if row is not None and row.content is not None:
            self._state.desired[node, name] = replace(row, revision=revision, content=None)

    def since(self, node: NodeId, revision: int) -> Sequence[DesiredRow]:
        rows = [row for row in self._of(node) if row.revision > revision]
        return sorted(rows, key=lambda row: (row.revision, row.name))

    def live(self, node: NodeId) -> Sequence[DesiredRow]:
        return sorted((row for row in self._of(node) if row.content is not None), key=lambda row: row.name)

    def changed_nodes(self, revision: int) -> Sequence[NodeId]:
        return sorted({row.node for row in self._state.desired.values() if row.revision > revision})

    def _of(self, node: NodeId) -> Iterable[DesiredRow]:
        return (row for row in self._state.desired.values() if row.node == node)


class MemoryJournal:
    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    def append(self, event: Event) -> None:
        state = self._state.changing()
        state.last_event_id += 1
        payload = codec.decode_payload(codec.encode_payload(event.payload))
        time = event.time or self._clock.now()
        state.events += (replace(event, id=state.last_event_id, time=time, payload=payload),)

    def after(self, event_id: int, prefixes: Sequence[str], limit: int) -> Sequence[Event]:
        return [event for event in self._matching(prefixes) if event.id > event_id][:limit]

    def newest(self, prefixes: Sequence[str], limit: int) -> Sequence[Event]:
        matching = self._matching(prefixes)
        return matching[max(0, len(matching) - limit) :]

    def last_id(self) -> int:
        return self._state.last_event_id

    def prune(self, now: datetime, kept: EventsKept) -> int:
        state = self._state.changing()
        young = (event.id for event in state.events if event.time is not None and event.time >= now - kept.age)
        beyond = state.events[-kept.rows - 1 :][:1] if len(state.events) > kept.rows else ()
        floor = max(next(young, state.last_event_id + 1), *(event.id + 1 for event in beyond), 0)
        before = len(state.events)
        state.events = tuple(event for event in state.events if event.id >= floor)
        return before - len(state.events)

    def _matching(self, prefixes: Sequence[str]) -> list[Event]:
        return [event for event in self._state.events if not prefixes or event.kind.startswith(tuple(prefixes))]


class MemoryRequestLog:
    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    def remembered(self, method: str, request_id: str, request_sha256: str) -> bytes | None:
        found = self._state.answers.get((method, request_id))
        if found is None or found.time <= self._clock.now() - REQUESTS_KEPT:
            return None
        if found.request_sha256 != request_sha256:
            raise request_id_reused(method, request_id)
        return found.answer

    def remember(self, method: str, request_id: str, request_sha256: str, answer: bytes) -> None:
        answers = self._state.changing().answers
        answers[method, request_id] = Answer(request_sha256, answer, self._clock.now())

    def prune(self, now: datetime) -> None:
        state = self._state.changing()
        kept = {key: answer for key, answer in state.answers.items() if answer.time > now - REQUESTS_KEPT}
        state.answers = kept
