"""Which of several that serve a request gets it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_AS_FAST = 2 / 3
"""Of the fastest: less of a difference is noise."""
_CLOSE = 1
"""How many requests more than others one may have that knows the beginning."""


@dataclass(frozen=True, slots=True)
class Candidate:
    in_hand: int = 0
    """Requests that were sent there and are not answered."""
    slots: int = 0
    """Requests that it answers at once; 0: nobody knows."""
    degraded: bool = False
    speed: float | None = None
    """Tokens a second of one request alone; None: it was not measured."""
    knows: bool = False
    """It answered what began like this."""

    @property
    def has_room(self) -> bool:
        return not self.slots or self.in_hand < self.slots


def choose(candidates: Sequence[Candidate], turn: int) -> int:
    """The index of one. A free slot first, then health, then who will be done soonest; equals take turns.

    One that knows the beginning goes before, unless it is busier than another by more than a request.
    """
    fastest = max((each.speed for each in candidates if each.speed is not None), default=None)
    ranks = [
        (not each.has_room, each.degraded, _wait(each, fastest), (at - turn) % len(candidates))
        for at, each in enumerate(candidates)
    ]
    best = min(ranks)
    alike = [(rank, each) for rank, each in zip(ranks, candidates, strict=True) if rank[:2] == best[:2]]
    least = min(each.in_hand for _, each in alike)
    known = [rank for rank, each in alike if each.knows and each.in_hand <= least + _CLOSE]
    return ranks.index(min(known, default=best))


def _wait(each: Candidate, fastest: float | None) -> float:
    """In requests of the fastest."""
    share = each.speed / fastest if each.speed is not None and fastest else 1.0
    return (1 + each.in_hand / max(1, each.slots)) / (1.0 if share >= _AS_FAST else max(share, 0.01))


class Beginnings:
    """Where requests went that began like this one: an engine need not read again what it just read.

    Of a conversation that goes on, all but the end is the same bytes as before.
    """

    _SHORTEST, _LONGEST, _FACTOR = 512, 512 * 1024, 4

    def __init__(self, most: int = 8192) -> None:
        """`most`: how many beginnings are remembered."""
        self._most = most
        self._went: OrderedDict[int, str] = OrderedDict()

    def known_by(self, of: str, body: bytes) -> str:
        """The instance that got the longest of them; empty: none did. `of`: beginnings of others are none of its."""
        found = ""
        for mark in self._marks(of, body):
            if mark not in self._went:
                break
            found = self._went[mark]
        return found

    def went(self, of: str, body: bytes, instance: str) -> None:
        for mark in self._marks(of, body):
            self._went[mark] = instance
            self._went.move_to_end(mark)
        while len(self._went) > self._most:
            self._went.popitem(last=False)

    def _marks(self, of: str, body: bytes) -> Iterator[int]:
        """Of beginnings, the shortest first."""
        size = self._SHORTEST
        while size <= min(len(body), self._LONGEST):
            yield hash((of, body[:size]))
            size *= self._FACTOR
