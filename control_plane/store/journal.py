"""Events and remembered answers over SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from control_plane.domain.event import Event, EventsKept
from control_plane.store import codec
from control_plane.store.counters import Counters
from control_plane.store.retention import PRUNED_AT_ONCE, REQUESTS_KEPT, request_id_reused
from control_plane.store.session import Session
from control_plane.use_cases.ports import Clock


class SqlJournal:
    def __init__(self, session: Session, clock: Clock, counters: Counters) -> None:
        self._session = session
        self._clock = clock
        self._counters = counters
        self.appended = False
        """True once this transaction has appended an event."""

    def append(self, event: Event) -> None:
        self._session.later(
            self._session.statements.append_event,
            id=self._counters.take_event_id(),
            time=codec.to_micros(event.time or self._clock.now()),
            kind=event.kind,
            subject=event.subject,
            payload=codec.encode_payload(event.payload),
        )
        self.appended = True

    def after(self, event_id: int, prefixes: Sequence[str], limit: int) -> Sequence[Event]:
        self._session.catch_up()
        statement = self._session.statements.events_after(len(prefixes))
        records = self._session.rows(statement, after=event_id, limit=limit, **_bound(prefixes))
        return [_event(*record) for record in records]

    def newest(self, prefixes: Sequence[str], limit: int) -> Sequence[Event]:
        self._session.catch_up()
        statement = self._session.statements.events_newest(len(prefixes))
        records = self._session.rows(statement, limit=limit, **_bound(prefixes))
        return [_event(*record) for record in reversed(records)]

    def last_id(self) -> int:
        return self._counters.position().last_event_id

    def prune(self, now: datetime, kept: EventsKept) -> int:
        """Delete the oldest events beyond what is kept, at most PRUNED_AT_ONCE; returns how many."""
        self._session.catch_up()
        last = self.last_id()
        since = codec.to_micros(now - kept.age)
        young = self._session.one(self._session.statements.oldest_kept_event, time=since)
        # Counted: where a history began, ids were left out.
        beyond = self._session.one(self._session.statements.nth_newest_event, n=kept.rows) if last > kept.rows else None
        floor = max(last + 1 if young is None else young[0], 0 if beyond is None else beyond[0] + 1)
        return self._session.run(self._session.statements.forget_events, floor=floor, limit=PRUNED_AT_ONCE)


class SqlRequestLog:
    def __init__(self, session: Session, clock: Clock) -> None:
        self._session = session
        self._clock = clock

    def remembered(self, method: str, request_id: str, request_sha256: str) -> bytes | None:
        since = codec.to_micros(self._clock.now() - REQUESTS_KEPT)
        statement = self._session.statements.remembered
        record = self._session.one(statement, method=method, request_id=request_id, since=since)
        if record is None:
            return None
        if record[0] != request_sha256:
            raise request_id_reused(method, request_id)
        return bytes(record[1])

    def remember(self, method: str, request_id: str, request_sha256: str, answer: bytes) -> None:
        self._session.run(
            self._session.statements.remember,
            method=method,
            request_id=request_id,
            request_sha256=request_sha256,
            answer=answer,
            time=codec.to_micros(self._clock.now()),
        )

    def prune(self, now: datetime) -> None:
        self._session.run(self._session.statements.forget_requests, since=codec.to_micros(now - REQUESTS_KEPT))


def _bound(prefixes: Sequence[str]) -> dict[str, str]:
    return {f"prefix_{number}": prefix for number, prefix in enumerate(prefixes)}


def _event(event_id: int, time: int, kind: str, subject: str, payload: str) -> Event:
    return Event(kind, subject, codec.decode_payload(payload), event_id, codec.from_micros(time))
