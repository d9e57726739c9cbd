"""In which order claims are served: by priority, by how long they waited, and by what their projects have already."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from control_plane.domain.claims.claim import Claim, ClaimState
from control_plane.domain.ids import ProjectId
from control_plane.domain.runtime import Modality

Party = tuple[ProjectId, Modality]
"""Between whom capacity is shared: what a project has of one modality costs it nothing for another."""


@dataclass(frozen=True, slots=True)
class Rules:
    ageing: timedelta = timedelta(seconds=10)
    """Whoever waited so long gains a point of priority, and the next after as long again."""
    share: int = 5
    """Points that each claim costs that its project has, or has before it in the line, of the same modality."""
    preempt_margin: int | None = None
    """By how much a priority must be higher to take an instance from its holders; None: nobody's is ever taken."""
    notice: timedelta = timedelta(seconds=30)
    """How long before it is taken its holder hears of it."""


def line(
    waiting: Iterable[Claim],
    holding: Iterable[Claim],
    now: datetime,
    rules: Rules,
    served: Mapping[Party, datetime] = MappingProxyType({}),
) -> list[Claim]:
    """Those that lost what they held first, then those whose promised time has come, then the rest.

    Nobody starves: points for waiting grow without end, and those of others by nothing else. Between parties they
    count from when a party last got something, so that a long queue of one is worth no more than its first.
    `served`: when that was, where nothing of it is held any more.
    """
    parted: dict[int, list[Claim]] = defaultdict(list)
    for claim in waiting:
        parted[_part(claim)].append(claim)
    before = sorted(parted[0], key=_age) + sorted(parted[1], key=_age)
    return before + list(_Parties(holding, now, rules, served).shared_out(parted[2]))


def is_due(claim: Claim, now: datetime) -> bool:
    """Whether its time window has begun."""
    start = claim.order.window.start
    return start is None or start <= now


def party(claim: Claim) -> Party:
    return claim.project, claim.order.wanted.modality


def _part(claim: Claim) -> int:
    if claim.state is ClaimState.SUSPENDED:
        return 0
    return 1 if claim.booked is not None else 2


def _age(claim: Claim) -> tuple[datetime, str]:
    return claim.create_time, claim.id


class _Parties:
    """Always the best of the firsts of each; each one that goes makes the next of its party cost more."""

    def __init__(self, holding: Iterable[Claim], now: datetime, rules: Rules, served: Mapping[Party, datetime]) -> None:
        self._now = now
        self._rules = rules
        self._has: Counter[Party] = Counter()
        self._served = dict(served)
        for claim in holding:
            who, time = party(claim), claim.held.time if claim.held else claim.since
            self._has[who] += 1
            self._served[who] = max(time, self._served.get(who, time))

    def shared_out(self, waiting: Iterable[Claim]) -> Iterator[Claim]:
        queues = self._queues(waiting)
        heads = [self._head(who, queue[-1]) for who, queue in queues.items()]
        heapq.heapify(heads)
        while heads:
            *_, who = heapq.heappop(heads)
            yield queues[who].pop()
            self._has[who] += 1
            if queues[who]:
                heapq.heappush(heads, self._head(who, queues[who][-1]))

    def _queues(self, waiting: Iterable[Claim]) -> dict[Party, list[Claim]]:
        """The first of each party last."""
        queues: dict[Party, list[Claim]] = defaultdict(list)
        for claim in waiting:
            queues[party(claim)].append(claim)
        for queue in queues.values():
            queue.sort(key=lambda claim: (-self._points(claim, claim.create_time), *_age(claim)), reverse=True)
        return queues

    def _head(self, who: Party, claim: Claim) -> tuple[int, datetime, str, Party]:
        since = max(claim.create_time, self._served.get(who, claim.create_time))
        cost = self._rules.share * self._has[who]
        return (cost - self._points(claim, since), *_age(claim), who)

    def _points(self, claim: Claim, since: datetime) -> int:
        return claim.order.priority + max(self._now - since, timedelta()) // self._rules.ageing
