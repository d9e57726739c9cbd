from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from control_plane.domain.event import Event
from control_plane.domain.problem import Problem
from control_plane.domain.watcher import HANGS_AFTER, Look, WatchArea, Watcher, WatchStatus
from control_plane.use_cases import announcements
from control_plane.use_cases.ports import Clock, Store, Transaction

TOPIC = "service.health"
FAR = 100
"""Events in which the last word on each area is sought, at once. No other event has this topic."""


class ReportWatchers:
    """Keep how the areas do that are looked at here, and append `service.health` when a status changes.

    For one loop: look, say what was found, then tell. What was told last stands in the journal, so that
    neither a restart nor another replica tells it twice.
    """

    def __init__(self, store: Store, clock: Clock, areas: Mapping[WatchArea, tuple[str, ...]]) -> None:
        self._store = store
        self._clock = clock
        self._watchers = {area: Watcher(area, areas[area]) for area in sorted(areas)}
        self._began: datetime | None = None
        self._ended: datetime | None = None
        self._told: dict[WatchArea, WatchStatus] | None = None
        """None: to be read."""
        self._words = dict(self._watchers)
        """How each area was when something was last told of it; nothing told is as good as all well."""
        self._heard: int | None = None
        """Id of the event up to which that is so; None: of none."""

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Around one look, which ends in `found` unless this process is not the one to look."""
        self._began = self._clock.now()
        if not self._is_fresh(self._began):
            self._told = None
        try:
            yield
        finally:
            self._began = None

    def found(self, looks: Mapping[WatchArea, Look]) -> None:
        self._ended = self._clock.now()
        for area, look in looks.items():
            self._watchers[area] = self._watchers[area].after(look, self._ended)

    async def tell(self) -> None:
        """StorageUnavailable; then the next call does it."""
        if self._told is None:
            await self._listen()
            self._told = {area: watcher.status for area, watcher in self._words.items()}
        now, told = self._clock.now(), self._told
        news = [watcher for area, watcher in self._watchers.items() if watcher.status is not told[area]]
        if news:
            await self._store.write(lambda tx: _append(tx, news, now))
            told.update({watcher.area: watcher.status for watcher in news})

    async def seen(self) -> tuple[Watcher, ...]:
        """As this process sees them; where it does not look, as another replica told last."""
        now = self._clock.now()
        if self._began is not None and now - self._began > HANGS_AFTER:
            return tuple(watcher.troubled(_hanging(self._began), now) for watcher in self._watchers.values())
        if self._began is not None or self._is_fresh(now):
            return tuple(self._watchers.values())
        await self._listen()
        return tuple(self._words.values())

    async def _listen(self) -> None:
        """The whole journal once, then what came since."""
        heard = self._heard
        news, self._heard = await self._store.read(lambda tx: _news(tx, heard))
        for event in news:
            area = event.payload.get("id")
            if area in self._words:
                self._words[area] = _told(self._words[area], event.payload, event.time)

    def _is_fresh(self, now: datetime) -> bool:
        """Whether this process is the one that looks."""
        return self._ended is not None and now - self._ended <= HANGS_AFTER


def _news(tx: Transaction, heard: int | None) -> tuple[Sequence[Event], int]:
    """What was told after it, and up to which event that is all."""
    if heard is None:
        return tx.journal.newest((TOPIC,), FAR), tx.journal.last_id()
    news = tx.journal.after(heard, (TOPIC,), FAR)
    return news, news[-1].id if len(news) == FAR else max(heard, tx.journal.last_id())


def _told(watcher: Watcher, said: Mapping[str, Any], at: datetime | None) -> Watcher:
    files = int(said.get("files", 0))
    if said.get("status") == WatchStatus.OK:
        return replace(watcher, files=files, problem=None, since=at)
    problem = Problem(str(said.get("reason", "")), str(said.get("summary", "")), str(said.get("remedy", "")))
    return replace(watcher, files=files, problem=problem, last_error=problem, last_error_time=at, since=at)


def _hanging(began: datetime) -> Problem:
    return Problem(
        "UNAVAILABLE",
        f"The look that began at {began:%Y-%m-%dT%H:%M:%SZ} has not ended.",
        "See whether the disk of these files hangs.",
    )


def _append(tx: Transaction, news: Sequence[Watcher], now: datetime) -> None:
    for watcher in news:
        tx.journal.append(announcements.service_health(watcher, now))
