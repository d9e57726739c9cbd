from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime

from control_plane.domain.claims.claim import Claim, ClaimState
from control_plane.domain.claims.line import Party, party
from control_plane.domain.ids import ClaimId, ProjectId, RuntimeId
from control_plane.domain.steps import Steps
from control_plane.use_cases.change_log import ChangeLog, Named
from control_plane.use_cases.ports import Store, Transaction
from control_plane.use_cases.slices import in_slices


class ClaimBook:
    """Every claim that is not over, in memory, as of the last look. One for all who follow them; only on the loop.

    A look costs what changed since the one before, not what there is.
    """

    def __init__(self, store: Store) -> None:
        self.claims: dict[ClaimId, Claim] = {}
        self.served: dict[Party, datetime] = {}
        """When each party last got something, as far as this process saw."""
        self.left: set[RuntimeId] = set()
        """Those that somebody held who is over or holds another, until whoever looks after that takes them out."""
        self._waiting: dict[ClaimId, Claim] = {}
        self._holding: dict[ClaimId, Claim] = {}
        self._unsettled: dict[ClaimId, Claim] = {}
        self._on: dict[RuntimeId, set[ClaimId]] = {}
        self._listeners: list[Callable[[Collection[ClaimId]], None]] = []
        self._count: Counter[tuple[ProjectId, bool]] = Counter()
        """Project, and whether they hold something."""
        self._log = ChangeLog(store, self._news)

    async def look(self) -> None:
        """Take in everything committed before the call. StorageUnavailable; then all is as before."""
        async with self._log.look() as news:
            await in_slices(self._taken(news or {}))
        if news:
            for listener in tuple(self._listeners):
                listener(news)

    def on_change(self, listener: Callable[[Collection[ClaimId]], None]) -> Callable[[], None]:
        """Call `listener` after each look that found something, with what changed. Returns how to stop."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def waiting(self) -> Sequence[Claim]:
        return tuple(self._waiting.values())

    def holding(self) -> Sequence[Claim]:
        return tuple(self._holding.values())

    def unsettled(self) -> Sequence[Claim]:
        """Those that wait for a node: reserved or suspended."""
        return tuple(self._unsettled.values())

    def runtimes(self) -> Iterable[RuntimeId]:
        """Those that somebody holds."""
        return self._on.keys()

    def on(self, runtime: RuntimeId) -> Collection[ClaimId]:
        """Those that hold it."""
        return self._on.get(runtime, ())

    def projects(self) -> Iterable[ProjectId]:
        """Those that have claims that are not over."""
        return {project for (project, _), claims in self._count.items() if claims}

    def count(self, project: ProjectId, *, holds: bool) -> int:
        return self._count[project, holds]

    def _taken(self, news: Mapping[ClaimId, Claim | None]) -> Steps[None]:
        for claim, row in news.items():
            self._drop(self.claims.pop(claim, None))
            if row is not None and not row.state.over:
                self.claims[claim] = row
                self._take(row)
            yield

    def _take(self, claim: Claim) -> None:
        held = claim.held
        (self._holding if held else self._waiting)[claim.id] = claim
        self._count[claim.project, held is not None] += 1
        if held is not None:
            who = party(claim)
            self.served[who] = max(held.time, self.served.get(who, held.time))
            self._on.setdefault(held.runtime, set()).add(claim.id)
        if claim.state in (ClaimState.RESERVED, ClaimState.SUSPENDED):
            self._unsettled[claim.id] = claim

    def _drop(self, claim: Claim | None) -> None:
        if claim is None:
            return
        self._waiting.pop(claim.id, None)
        self._holding.pop(claim.id, None)
        self._count[claim.project, claim.held is not None] -= 1
        self._unsettled.pop(claim.id, None)
        if claim.held is not None:
            self.left.add(claim.held.runtime)
            holders = self._on[claim.held.runtime]
            holders.discard(claim.id)
            if not holders:
                del self._on[claim.held.runtime]

    def _news(self, tx: Transaction, named: Named) -> Mapping[ClaimId, Claim | None]:
        return named.rows("claims", tx.claims, ClaimId, self.claims)
