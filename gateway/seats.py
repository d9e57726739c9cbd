"""A request's seat at an engine: the line before it, and then a connection to its node."""

from __future__ import annotations

import asyncio

from gateway.line import Line
from gateway.ports import Caller, Route
from gateway.refusals import GatewayRefusal
from gateway.relay import NodePool
from gateway.settings import GatewaySettings
from gateway.upstream import Carried, Lender, Upstream

_KEPT_LINES = 1024
"""With what they measured, though nobody stands in them."""


class Lines:
    """One before each engine whose slots are known."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._lines: dict[str, Line] = {}

    def seat(self, route: Route, caller: Caller, pool: NodePool) -> Seat | None:
        """None: nobody knows how much the engine does at once, so it keeps its own line.

        Nor is there one where the node cannot be reached: who waits for that shall not wait for others first.
        """
        if not route.slots or not pool.connections:
            return None
        return Seat(self._line(route), route.slots, caller.claim or caller.project, pool)

    def _line(self, route: Route) -> Line:
        found = self._lines.get(route.instance)
        if found is None:
            self._forget()
            time = asyncio.get_running_loop().time
            found = self._lines[route.instance] = Line(route.model_alias, self._settings.line_length, time)
        return found

    def _forget(self) -> None:
        if len(self._lines) >= _KEPT_LINES:
            self._lines = {name: line for name, line in self._lines.items() if not line.idle}


class Seat:
    """A lender that lets its one request wait first."""

    def __init__(self, line: Line, slots: int, party: str, lender: Lender) -> None:
        self.party = party
        self._line = line
        self._slots = slots
        self._lender = lender
        self._passage: Carried | None = None
        self._taken = False

    def lend(self, passage: Carried) -> None:
        self._passage = passage
        try:
            self._taken = self._taken or self._line.enter(self, self._slots)
        except GatewayRefusal as refusal:
            passage.refuse(refusal)
            return
        if self._taken:
            self._lender.lend(passage)
        else:
            passage.wait_in_line()

    def forget(self, passage: Carried) -> None:
        self._lender.forget(passage)

    def take_back(self, upstream: Upstream) -> None:
        self._lender.take_back(upstream)

    def left(self) -> None:
        """The request has no more use for the engine, or never came to its turn."""
        self._line.leave(self)

    def admit(self) -> None:
        self._taken = True
        assert self._passage is not None  # noqa: S101 - it stands in line since `lend`
        self._passage.start()

    def turn_away(self, refusal: GatewayRefusal) -> None:
        assert self._passage is not None  # noqa: S101 - the same
        self._passage.refuse(refusal)
