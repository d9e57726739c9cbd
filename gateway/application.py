"""Connections to the ASGI application on its Unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from gateway.refusals import NotServing
from gateway.upstream import Carried, Upstream

_IDLE = 8


class ApplicationPool:
    """Connects on demand and keeps a few connections for the next request."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._idle: list[_ApplicationConnection] = []
        self._spawn: Callable[[Coroutine[Any, Any, None]], object] | None = None

    def open(self, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        """Connect through this task group from now on."""
        self._spawn = spawn

    def close(self) -> None:
        self._spawn = None
        while self._idle:
            self._idle.pop().abort()

    def lend(self, passage: Carried) -> None:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                passage.carry(connection)
                return
        if self._spawn is None or self._path is None:
            passage.refuse(_unavailable())
        else:
            self._spawn(self._connect(self._path, passage))

    def forget(self, passage: Carried) -> None:
        """A connection made for it goes to the next request."""

    def take_back(self, upstream: Upstream) -> None:
        if isinstance(upstream, _ApplicationConnection) and len(self._idle) < _IDLE:
            self._idle.append(upstream)
        else:
            upstream.close()

    def remove(self, connection: _ApplicationConnection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    async def _connect(self, path: Path, passage: Carried) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_unix_connection(lambda: _ApplicationConnection(self), str(path))
        except OSError:
            passage.refuse(_unavailable())
            return
        if passage.over:
            self.take_back(connection)
        else:
            passage.carry(connection)


class _ApplicationConnection(Upstream):
    def __init__(self, pool: ApplicationPool) -> None:
        self._pool = pool

    def gone(self) -> None:
        self._pool.remove(self)


def _unavailable() -> NotServing:
    return NotServing("The control plane's HTTP interface is not serving.", "Try again in a moment.", retry_after=1)
