"""Who is woken after a commit, whichever process made it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

Listener = Callable[[int], None]


class Position(NamedTuple):
    """How far a history has come. Commits come one after another, so neither part goes back unless commits are lost."""

    revision: int
    last_event_id: int


BEGINNING = Position(0, 0)


@dataclass(slots=True)
class Listeners:
    """For the event loop alone."""

    _told: Position = BEGINNING
    _listeners: list[Listener] = field(default_factory=list)

    @property
    def told(self) -> Position:
        return self._told

    def add(self, listener: Listener) -> Callable[[], None]:
        """Returns how to stop."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def tell(self, position: Position) -> None:
        """Call every listener soon, unless all this was told already."""
        if position > self._told:
            self.tell_again(position)

    def tell_again(self, position: Position) -> None:
        """As `tell`, whatever was told: the teller has been deaf, or the history is another one."""
        self._told = position
        for listener in tuple(self._listeners):
            asyncio.get_running_loop().call_soon(listener, position.revision)
