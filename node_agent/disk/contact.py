"""When this node last heard from its control plane, also across a restart of the agent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import structlog

_NOTED_EVERY_SECONDS = 5.0
_log = structlog.get_logger()


class _Note(msgspec.Struct, frozen=True):
    boot_id: str
    at: float
    """Seconds since that boot, sleep included."""


class Contact:
    """A stream that is open is contact, until the link itself finds it dead. The note lags by seconds at most."""

    def __init__(self, path: Path, boot_id: str, clock: Callable[[], float], counts: Callable[[], bool]) -> None:
        """`clock`: seconds since boot, sleep included. `counts`: whether anybody minds; else nothing is written."""
        self._path = path
        self._boot_id = boot_id
        self._clock = clock
        self._counts = counts
        self._noted = self._last = self._read()
        self._open = False
        self._listeners: list[Callable[[], None]] = []

    def on_change(self, listener: Callable[[], None]) -> None:
        """Called on the loop when contact begins and when it ends."""
        self._listeners.append(listener)

    def silence(self) -> timedelta | None:
        """Since the last contact, `timedelta.max` when nobody knows when that was; None: there is contact."""
        if self._open:
            return None
        return timedelta.max if self._last is None else timedelta(seconds=max(0.0, self._clock() - self._last))

    def heard(self, at: float) -> None:
        """Something came over the stream, at this time of the clock."""
        self._last = at
        if self._noted is None or at - self._noted >= _NOTED_EVERY_SECONDS:
            self._note()
        self._turn(is_open=True)

    def lost(self) -> None:
        self._note()
        self._turn(is_open=False)

    def _turn(self, *, is_open: bool) -> None:
        if is_open is self._open:
            return
        self._open = is_open
        for listener in self._listeners:
            listener()

    def _read(self) -> float | None:
        """None: nothing is noted, or in another boot; nobody knows then how long ago it is."""
        try:
            note = msgspec.json.decode(self._path.read_bytes(), type=_Note)
        except (OSError, msgspec.DecodeError):
            return None
        return note.at if note.boot_id == self._boot_id else None

    def _note(self) -> None:
        """Unwritten, an agent that starts anew takes the last contact for older than it is."""
        if self._last is None or self._last == self._noted or not self._counts():
            return
        scratch = self._path.with_suffix(".new")
        try:
            scratch.write_bytes(msgspec.json.encode(_Note(self._boot_id, self._last)))
            scratch.replace(self._path)
        except OSError as error:
            _log.warning("contact_not_noted", path=str(self._path), error=str(error))
            return
        self._noted = self._last
