"""Requests that wait until an engine has a slot for them, in turns between those who ask."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from gateway.refusals import GatewayRefusal, LineFull, ShareFull

_LONGEST_RETRY_SECONDS = 600
_UNMEASURED_RETRY_SECONDS = 2
_NEWEST_COUNTS = 0.2


class Waiter(Protocol):
    """A request; compared by identity."""

    @property
    def party(self) -> str:
        """Whose it is: each party has its turn, however many others ask."""

    def admit(self) -> None:
        """Its turn has come."""

    def turn_away(self, refusal: GatewayRefusal) -> None:
        """It waited, and shall do so no longer."""


class Line:
    """Before one engine. Who enters leaves exactly once, whatever became of it."""

    def __init__(self, runtime: str, length: int, now: Callable[[], float]) -> None:
        """`length`: how many may wait. `now`: seconds."""
        self._runtime = runtime
        self._length = length
        self._now = now
        self._slots = 1
        self._admitted: dict[Waiter, float] = {}
        self._waiting: dict[str, dict[Waiter, None]] = {}
        """By party, whose turn is next first."""
        self._service: float | None = None
        """Seconds that a request takes, the latest ones most."""
        self._admitting = False

    @property
    def waiting(self) -> int:
        return sum(len(each) for each in self._waiting.values())

    @property
    def idle(self) -> bool:
        return not self._admitted and not self._waiting

    def enter(self, waiter: Waiter, slots: int) -> bool:
        """Whether it may go on at once; else `admit` is called later. GatewayRefusal: it may not even wait."""
        self._slots = slots
        self._admit()
        if not self._waiting and self._room:
            self._admitted[waiter] = self._now()
            return True
        if self.waiting >= self._length:
            self._make_place(waiter.party)
        self._waiting.setdefault(waiter.party, {})[waiter] = None
        return False

    def leave(self, waiter: Waiter) -> None:
        since = self._admitted.pop(waiter, None)
        if since is None:
            self._withdraw(waiter)
            return
        took, before = self._now() - since, self._service
        self._service = took if before is None else before + _NEWEST_COUNTS * (took - before)
        self._admit()

    @property
    def _room(self) -> int:
        """A few more than the engine has slots: the next one is at hand when one gets free."""
        return max(0, self._slots + max(1, self._slots // 4) - len(self._admitted))

    def _admit(self) -> None:
        # One that is admitted may end at once, and leave from within.
        if self._admitting:
            return
        self._admitting = True
        while self._waiting and self._room:
            waiter = self._next()
            self._admitted[waiter] = self._now()
            waiter.admit()
        self._admitting = False

    def _next(self) -> Waiter:
        party = next(iter(self._waiting))
        queue = self._waiting.pop(party)
        waiter = next(iter(queue))
        del queue[waiter]
        if queue:
            self._waiting[party] = queue
        return waiter

    def _withdraw(self, waiter: Waiter) -> None:
        queue = self._waiting.get(waiter.party, {})
        queue.pop(waiter, None)
        if not queue:
            self._waiting.pop(waiter.party, None)

    def _make_place(self, party: str) -> None:
        """Whoever has most in the line gives the last of it to one who has less; GatewayRefusal when that is nobody."""
        own = len(self._waiting.get(party, ()))
        longest = max(self._waiting.values(), key=len, default={})
        if own >= len(longest):
            raise self._share_full(own) if own and own == self.waiting else self._line_full()
        many, last = len(longest), next(reversed(longest))
        self._withdraw(last)
        last.turn_away(self._share_full(many))

    def _share_full(self, own: int) -> GatewayRefusal:
        return ShareFull(
            f"{own} requests of yours wait for {self._runtime} already{self._forecast()}.",
            "Send fewer at once, or have another replica: arwctl runtime scale.",
            retry_after=self._retry_after(),
        )

    def _line_full(self) -> GatewayRefusal:
        return LineFull(
            f"{self.waiting} requests wait for {self._runtime} already{self._forecast()}.",
            "Try again then, or have another replica: arwctl runtime scale.",
            retry_after=self._retry_after(),
        )

    def _forecast(self) -> str:
        return "" if self._service is None else f", which takes about {self._retry_after()} s"

    def _retry_after(self) -> int:
        """Until those have gone that wait now."""
        if self._service is None:
            return _UNMEASURED_RETRY_SECONDS
        seconds = self._service * self.waiting / self._slots
        return min(_LONGEST_RETRY_SECONDS, max(1, math.ceil(seconds)))
