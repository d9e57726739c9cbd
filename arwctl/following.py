"""The journal as it grows, also over a restart of the control plane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field

from arw_client import ArwError, Client
from arw_client import messages as m
from arwctl.plain import one_line
from arwctl.screen import Screen

PAUSE_S = 1.0
AWAY = {"UNAVAILABLE", "DRAINING", "STORAGE_UNAVAILABLE"}
"""Reasons that end by themselves."""


@dataclass(slots=True)
class Following:
    """Each event once and in order, though each may come several times.

    Whether there is a control plane at all shows at the start; from then on it may go and come back.
    """

    client: Client
    screen: Screen
    prefixes: Sequence[str] = ()
    pause_s: float = PAUSE_S
    _seen: int = 0
    """The newest id that was told, or that there was at the start."""
    _away: bool = field(default=False)

    async def events(self, after: int | None, replay: int) -> AsyncGenerator[m.Event, None]:
        """Those after an id, else the newest `replay`; then each new one."""
        self._seen = await self._newest()
        if after is not None:
            self._seen = after
        for event in await self._old(replay) if after is None else ():
            self._seen = max(self._seen, event.id)
            yield event
        while True:
            try:
                async for event in self._more():
                    yield event
            except ArwError as error:
                if error.reason not in AWAY:
                    raise
                self._say(error)
            else:
                return
            await asyncio.sleep(self.pause_s)

    async def _more(self) -> AsyncIterator[m.Event]:
        if self._away and await self._newest() < self._seen:
            self.screen.note("The control plane has another journal now; it is told from its beginning.")
            self._seen = 0
        self._away = False
        request = m.WatchEventsRequest(prefixes=list(self.prefixes), after_id=self._seen)
        async for answer in self.client.state.watch_events(request):
            if answer.event is not None and answer.event.id > self._seen:
                self._seen = answer.event.id
                yield answer.event

    def _say(self, error: ArwError) -> None:
        """Once for as long as it is away."""
        if not self._away:
            self.screen.note(f"{one_line(error.text)} Trying again.")
        self._away = True

    async def _newest(self) -> int:
        """Of all topics; 0: the journal is empty."""
        answer = await self.client.state.list_events(m.ListEventsRequest(page_size=1))
        return max((event.id for event in answer.events), default=0)

    async def _old(self, count: int) -> Sequence[m.Event]:
        if not count:
            return ()
        wanted = m.ListEventsRequest(prefixes=list(self.prefixes), page_size=count)
        return (await self.client.state.list_events(wanted)).events
