"""How many agents are let in at once, so that thousands who come back together keep nobody waiting who is in."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog

from control_plane.domain.errors import RateLimited
from control_plane.sessions.rules import AdmissionRules

_log = structlog.get_logger()


class Admissions:
    """Few in hand, a line behind them; who finds no room in time is told when to come again. Only on the loop."""

    def __init__(self, rules: AdmissionRules, chance: Callable[[], float] = random.random) -> None:
        """`chance`: uniform in [0, 1)."""
        self._rules = rules
        self._chance = chance
        self._places = asyncio.Semaphore(rules.at_once)
        self._present = 0
        self._turned_away = 0
        """Since nobody waited last."""

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """RateLimited when the line is too long, or no turn came in time."""
        if self._present >= self._rules.at_once + self._rules.line:
            raise self._crowded()
        self._present += 1
        try:
            await self._waited()
            try:
                yield
            finally:
                self._places.release()
        finally:
            self._left()

    async def _waited(self) -> None:
        try:
            async with asyncio.timeout(self._rules.patience.total_seconds()):
                await self._places.acquire()
        except TimeoutError:
            raise self._crowded() from None

    def _left(self) -> None:
        self._present -= 1
        if self._present < self._rules.at_once:
            self._turned_away = 0

    def _crowded(self) -> RateLimited:
        """Those who were turned away come back as fast as they can be let in, in no order."""
        if not self._turned_away:
            _log.warning("agents_turned_away", present=self._present)
        self._turned_away += 1
        refusal = RateLimited("Too many agents connect at this moment.", "The node comes again by itself.")
        spread = max(self._rules.again_after, self._turned_away * self._rules.each)
        refusal.passes_in = self._rules.again_after + spread * self._chance()
        return refusal
