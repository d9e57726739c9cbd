"""Ends connections to a server that stands still: the driver would wait for its answer for ever."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import structlog

_log = structlog.get_logger()


class Watchdog:
    """A thread beside those that ask. A server that works ends a statement long before this does."""

    def __init__(self, limit: timedelta) -> None:
        self._limit = limit.total_seconds()
        self._asked: dict[psycopg.Connection[Any], float] = {}
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="store-watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._is_closed.set()
        self._thread.join()

    @contextmanager
    def asking(self, connection: psycopg.Connection[Any]) -> Iterator[None]:
        self._asked[connection] = time.monotonic()
        try:
            yield
        finally:
            del self._asked[connection]

    def _run(self) -> None:
        while not self._is_closed.wait(self._limit / 10):
            latest = time.monotonic() - self._limit
            # A copy: others come and go meanwhile.
            for connection, asked in self._asked.copy().items():
                if asked < latest:
                    _log.warning("database_stands_still", seconds=self._limit)
                    _hang_up(connection)


def _hang_up(connection: psycopg.Connection[Any]) -> None:
    # Closing it is for the thread that waits on it, which this wakes.
    with contextlib.suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
