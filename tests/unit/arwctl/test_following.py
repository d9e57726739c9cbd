from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from arw_client import ArwError, Client, UnreachableError
from arw_client import messages as m
from arwctl.following import Following
from arwctl.screen import Screen

AWAY = UnreachableError("No control plane answers.", "Start it.")


@dataclass
class Journal:
    """What a client has of a control plane: its state service, here in memory."""

    ids: list[int] = field(default_factory=list)
    endings: list[ArwError] = field(default_factory=list)
    """How streams end, the first first; then they end in good order."""
    asked: list[int | None] = field(default_factory=list)
    away: bool = False

    @property
    def state(self) -> Journal:
        return self

    async def list_events(self, request: m.ListEventsRequest) -> m.ListEventsResponse:
        if self.away:
            raise AWAY
        newest = self.ids[-request.page_size :]
        return m.ListEventsResponse(events=[m.Event(id=number) for number in newest])

    async def watch_events(self, request: m.WatchEventsRequest) -> AsyncIterator[m.WatchEventsResponse]:
        """From one before, for rows come at least once."""
        self.asked.append(request.after_id)
        for number in self.ids:
            if number >= (request.after_id or 0):
                yield m.WatchEventsResponse(event=m.Event(id=number))
        if self.endings:
            self.ids.append(self.ids[-1] + 1)
            raise self.endings.pop(0)


@dataclass
class Heard:
    ids: list[int]
    notes: str


async def heard(journal: Journal, after: int | None = None, replay: int = 0) -> Heard:
    notes = io.StringIO()
    following = Following(cast(Client, journal), Screen(err=notes), pause_s=0)
    events = cast(Any, following.events(after, replay))
    async with aclosing(events):
        return Heard([event.id async for event in events], notes.getvalue())


async def test_each_event_is_told_once_over_every_break() -> None:
    journal = Journal([1, 2, 3], [AWAY, ArwError("DRAINING", "It stops."), ArwError("STORAGE_UNAVAILABLE", "Full.")])
    told = await heard(journal, replay=2)
    assert told.ids == [2, 3, 4, 5, 6]
    assert journal.asked == [3, 3, 4, 5]


async def test_without_old_events_it_begins_where_the_journal_is() -> None:
    journal = Journal([1, 2, 3], [AWAY])
    assert (await heard(journal)).ids == [4]
    assert journal.asked == [3, 3]


async def test_it_says_once_that_the_control_plane_is_away() -> None:
    told = await heard(Journal([7], [AWAY, AWAY, AWAY]), after=7)
    assert told.notes.count("Trying again.") == 3, "each time that it was heard in between"
    assert "No control plane answers. Trying again." in told.notes


async def test_a_journal_that_begins_anew_is_told_from_its_beginning() -> None:
    journal = Journal([900], [AWAY])
    following = Following(cast(Client, journal), Screen(err=io.StringIO()), pause_s=0)
    told: list[int] = []
    async for event in following.events(899, 0):
        told.append(event.id)
        journal.ids = [1, 2]
    assert told == [900, 1, 2, 3]


async def test_what_was_never_there_ends_the_command() -> None:
    with pytest.raises(UnreachableError):
        await heard(Journal(away=True), after=1)


async def test_a_refusal_that_does_not_end_by_itself_ends_the_command() -> None:
    with pytest.raises(ArwError, match="not for you"):
        await heard(Journal([1], [ArwError("PERMISSION_DENIED", "This is not for you.")]), after=1)
