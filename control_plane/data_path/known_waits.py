from __future__ import annotations

from collections.abc import Callable

from control_plane.domain.claims.allocation import Wait
from control_plane.domain.ids import ClaimId
from control_plane.use_cases.claims.book import ClaimBook
from control_plane.use_cases.claims.waits import ClaimWaits


class KnownWaits:
    """What claims wait for, for requests, which wait for nothing: as of the last look, and first of all unknown."""

    def __init__(self, waits: ClaimWaits, book: ClaimBook) -> None:
        self._waits = waits
        self._book = book
        self._asked: set[ClaimId] = set()
        self._known: dict[ClaimId, Wait] = {}
        self.bell: Callable[[], None] = lambda: None
        """Rung when there is something to look at."""

    def of(self, claim: ClaimId) -> Wait | None:
        self._asked.add(claim)
        self.bell()
        return self._known.get(claim)

    async def look(self) -> None:
        """At what was asked for since the last look, and forget the rest."""
        asked, self._asked = self._asked, set()
        claims = [claim for name in asked if (claim := self._book.claims.get(name)) is not None]
        looked = {claim.id: await self._waits.of(claim) for claim in claims}
        self._known = {name: wait for name, wait in looked.items() if wait is not None}
