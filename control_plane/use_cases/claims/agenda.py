from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable
from datetime import datetime

from control_plane.domain.claims.claim import Claim
from control_plane.domain.ids import ClaimId, NodeId, RuntimeId
from control_plane.use_cases.claims.book import ClaimBook
from control_plane.use_cases.claims.dues import ClaimDues
from control_plane.use_cases.claims.facts import Sight
from control_plane.use_cases.mirror import Changed

MAX_CHANGED = 100_000
"""Where nobody settles them they are not taken away."""


class ClaimAgenda:
    """Which claims may go on now, so that settling costs what happened and not what there is. Only on the loop."""

    def __init__(self, book: ClaimBook, sight: Sight, dues: ClaimDues) -> None:
        self._book = book
        self._mirror = sight.mirror
        self._dues = dues
        book.on_change(self.again)
        sight.mirror.on_change(self._rows_changed)
        sight.fleet.on_instance(lambda _, runtime: self._disturbed(runtime))
        sight.fleet.on_node(self._turned)
        self.forget()

    def forget(self) -> None:
        """As after a start: everything is to be looked at."""
        self.stirred = True
        """Whether something happened since somebody looked that may let those who wait go on."""
        self._everything = True
        self._amnesty = True
        self._again: set[ClaimId] = set()
        self._times: list[tuple[datetime, ClaimId]] = []
        self._scheduled: dict[ClaimId, datetime] = {}

    def again(self, claims: Iterable[ClaimId]) -> None:
        """These are to be looked at."""
        self.stirred = True
        self._again.update(claims)
        if len(self._again) > MAX_CHANGED:
            self._everything, self._again = True, set()

    def due(self, now: datetime, *, amnesty: bool) -> Collection[Claim]:
        """Those that changed, whose time has come, that wait for a node, or whose runtime or node changed."""
        known, again = self._book.claims, self._again
        everything = self._everything or amnesty is not self._amnesty
        self._everything, self._amnesty, self._again = False, amnesty, set()
        found = set(known) if everything else again & known.keys()
        found |= {claim.id for claim in self._book.unsettled()}
        while self._times and self._times[0][0] <= now:
            time, claim = heapq.heappop(self._times)
            if self._scheduled.get(claim) == time:
                del self._scheduled[claim]
                found |= {claim} & known.keys()
        return [known[claim] for claim in sorted(found)]

    def schedule(self, claim: Claim) -> None:
        """For when it ends unless somebody does something."""
        notice = claim.notice.until if claim.notice else None
        ends = (self._dues.of(claim).time, notice, claim.not_after, claim.order.window.end)
        time = min(end for end in ends if end is not None)
        known = self._scheduled.get(claim.id)
        if known is None or time < known:
            self._scheduled[claim.id] = time
            heapq.heappush(self._times, (time, claim.id))

    def _rows_changed(self, changed: Changed) -> None:
        for runtime in changed.runtimes:
            self._disturbed(runtime)

    def _disturbed(self, runtime: RuntimeId) -> None:
        self.again(self._book.on(runtime))

    def _turned(self, node: NodeId) -> None:
        self.stirred = True
        if self._book.claims:
            for runtime in self._mirror.placed(node):
                self._disturbed(runtime.id)
