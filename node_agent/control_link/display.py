"""Turns what happens on the link into the one state that a person sees."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from node_agent.control_link.ports import LinkState, LinkStatus, StatusBoard
from node_agent.control_link.session import AgentSession
from node_agent.domain.status import Problem

_REFUSED_STATES = {
    "CERTIFICATE_EXPIRED": LinkState.CERTIFICATE_EXPIRED,
    "NODE_QUARANTINED": LinkState.QUARANTINED,
}


class Display:
    """Shows each change of state once."""

    def __init__(self, board: StatusBoard, wall_clock: Callable[[], datetime]) -> None:
        self._board = board
        self._now = wall_clock
        self._server = ""
        self._epoch = 0
        self._last_contact: datetime | None = None
        self._shown: tuple[LinkState, str] | None = None
        self._since = wall_clock()
        self.welcomed = False
        """The current or last attempt got as far as a Welcome."""

    def connecting(self, server: str) -> None:
        self._server = server
        self.welcomed = False
        # A failed attempt's reason stays on show until something better is known.
        if self._shown is None:
            self._show(LinkState.CONNECTING)

    def follow(self, session: AgentSession) -> None:
        if not session.opened:
            return
        self.welcomed = True
        self._epoch = session.epoch
        self._last_contact = self._now()
        self._show(_state_of(session))

    def disconnected(self, problem: Problem) -> None:
        self._show(LinkState.DISCONNECTED, problem)

    def refused(self, problem: Problem) -> None:
        self._show(_REFUSED_STATES.get(problem.reason, LinkState.REFUSED), problem)

    def _show(self, state: LinkState, problem: Problem | None = None) -> None:
        key = (state, problem.text if problem else "")
        if key == self._shown:
            return
        if self._shown is None or state is not self._shown[0]:
            self._since = self._now()
        self._shown = key
        self._board.show(LinkStatus(state, self._since, self._last_contact, self._server, self._epoch, problem))


def _state_of(session: AgentSession) -> LinkState:
    if session.history_changed:
        return LinkState.HISTORY_CHANGED
    if session.draining:
        return LinkState.DRAINING
    return LinkState.IN_SYNC if session.in_sync else LinkState.SYNCING
