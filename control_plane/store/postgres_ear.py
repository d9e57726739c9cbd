"""Hears of commits, this process's and others'. A NOTIFY only wakes it; the history's position decides."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import structlog

from control_plane.store.board_tables import CHANNEL as BOARD_CHANNEL
from control_plane.store.board_tables import USE
from control_plane.store.known_history import MARK, KnownHistory, Mark
from control_plane.store.listeners import Position
from control_plane.store.postgres_link import Patience, connected
from control_plane.store.postgres_watchdog import Watchdog

CHANNEL = "arw"
POLL = timedelta(seconds=1)
"""Also how long it waits before it connects again."""


_log = structlog.get_logger()


class Ear:
    """A thread with a connection of its own.

    `tell` gets the position, whether something may have been missed, and whether the history is another one or has
    lost something; `tell_board` the replica that has news for the others. Its session also keeps the history as it is:
    whoever would begin a new one by hand finds its lock.
    """

    def __init__(
        self,
        dsn: str,
        patience: Patience,
        watchdog: Watchdog,
        known: KnownHistory,
        *,
        tell: Callable[[Position, bool, bool], None],
        tell_board: Callable[[str], None],
    ) -> None:
        self._dsn = dsn
        self._patience = patience
        self._watchdog = watchdog
        self._known = known
        self._tell = tell
        self._tell_board = tell_board
        self._was_notified = False
        self._waker, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="store-ear", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._waker.close()
        self._thread.join()
        self._woken.close()

    def _run(self) -> None:
        is_open, is_deaf = True, False
        while is_open:
            try:
                with connected(self._dsn, "listener", self._patience) as connection:
                    connection.add_notify_handler(lambda notice: self._heard(notice.channel, notice.payload))
                    with self._watchdog.asking(connection):
                        connection.execute(f"LISTEN {CHANNEL}; LISTEN {BOARD_CHANNEL}; {USE}".encode())
                    has_missed, is_deaf = is_deaf, False
                    is_open = self._listen(connection, may_have_missed=has_missed)
            except psycopg.Error as error:
                if not is_deaf:
                    _log.warning("listening_stopped", cause=str(error))
                is_deaf = True
                is_open = self._rest()

    def _listen(self, connection: psycopg.Connection[Any], *, may_have_missed: bool) -> bool:
        """False once it shall end."""
        is_open = True
        while is_open:
            self._was_notified = False
            known = self._known.mark
            with self._watchdog.asking(connection):
                record = connection.execute(MARK.encode()).fetchone()
            if record is not None:
                found = Mark.of(record)
                self._tell(found.position, may_have_missed, not self._known.seen(known, found))
            may_have_missed = False
            # A notice that came right behind the answer will not make the socket readable again.
            while notice := connection.pgconn.notifies():
                self._heard(notice.relname.decode(), notice.extra.decode())
            if not self._was_notified:
                is_open = self._rest(connection.fileno())
        return is_open

    def _heard(self, channel: str, payload: str) -> None:
        self._was_notified = True
        if channel == BOARD_CHANNEL:
            self._tell_board(payload)

    def _rest(self, *readable: int) -> bool:
        """Until something comes, or it is time to look in any case; False once it shall end."""
        woken = self._woken.fileno()
        poll = select.poll()
        for descriptor in (woken, *readable):
            poll.register(descriptor, select.POLLIN)
        return woken not in dict(poll.poll(POLL.total_seconds() * 1000))
